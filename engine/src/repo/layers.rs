//! Names of tensors, as people read them: which layer one belongs to, and what part of a network it is.
//!
//! By the name alone, and by rules that hold for the usual ways to name things (`docs/decisions/0022-compare.md`).
//! Whatever a name says, the worst is that its tensor is counted in another row.

use std::cmp::Ordering;

use serde::Serialize;

/// Components that only wrap what is inside of them.
const WRAPPERS: [&[u8]; 22] = [
    b"auto_model",
    b"backbone",
    b"base_model",
    b"bert",
    b"decoder",
    b"deberta",
    b"distilbert",
    b"encoder",
    b"gpt_neox",
    b"language_model",
    b"model",
    b"module",
    b"net",
    b"network",
    b"roberta",
    b"text_model",
    b"transformer",
    b"unet",
    b"vae",
    b"vision_model",
    b"vision_tower",
    b"visual",
];

/// The layer that a tensor of this name belongs to: a beginning of the name.
///
/// Up to its first component that is a number: `model.layers.12`, `encoder.layer.3`, `blk.7`; a number at the very
/// beginning counts only if no other follows. Where numbers stand between underscores, up to the first of these.
/// Without a number: what stands directly inside of all that only wraps, `model.embed_tokens`, `lm_head`.
pub fn layer_of(name: &[u8]) -> &[u8] {
    let parts: Vec<&[u8]> = name.split(|b| *b == b'.').collect();
    let up_to = |count: usize| -> &[u8] {
        let len = parts.iter().take(count).map(|part| part.len() + 1).sum::<usize>();
        &name[..len.saturating_sub(1).min(name.len())]
    };
    let number = |part: &&[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    if let Some(at) = parts.iter().skip(1).position(number) {
        return up_to(at + 2);
    }
    if let Some(len) = parts.first().and_then(|first| underscored(first)) {
        return &name[..len];
    }
    if parts.first().is_some_and(number) {
        return up_to(1);
    }
    let inside = parts.iter().position(|part| !WRAPPERS.contains(part)).unwrap_or(parts.len());
    // The last component says which tensor of the layer it is.
    up_to((inside + 1).min(parts.len() - 1).max(1))
}

/// Where the first number between underscores ends: `lora_unet_down_blocks_0` of a longer name.
fn underscored(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    for part in text.split(|b| *b == b'_') {
        let end = at + part.len();
        if at > 0 && end < text.len() && !part.is_empty() && part.iter().all(u8::is_ascii_digit) {
            return Some(end);
        }
        at = end + 1;
    }
    None
}

/// By bytes, but for numbers, which go by their value: `layers.2` before `layers.10`.
pub fn natural(a: &[u8], b: &[u8]) -> Ordering {
    let (mut i, mut j) = (0, 0);
    let run = |text: &[u8], at: usize| text[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    while i < a.len() && j < b.len() {
        let (m, n) = (run(a, i), run(b, j));
        let order = if m > 0 && n > 0 {
            let value = |text: &[u8]| text.iter().position(|b| *b != b'0').unwrap_or(text.len());
            let (x, y) = (&a[i..i + m], &b[j..j + n]);
            let (x, y) = (&x[value(x)..], &y[value(y)..]);
            (i, j) = (i + m, j + n);
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            (i, j) = (i + 1, j + 1);
            a[i - 1].cmp(&b[j - 1])
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    (a.len() - i).cmp(&(b.len() - j)).then_with(|| a.cmp(b))
}

/// A part of a network, in the order in which parts are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What turns words, places, pixels into vectors.
    Embeddings,
    /// What lets one place look at others.
    Attention,
    /// What works on each place alone, experts too.
    Mlp,
    /// What keeps numbers in range.
    Norms,
    /// What the last layer's vectors become.
    Head,
    /// Anything else; headers of files, too.
    Other,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Embeddings, Self::Attention, Self::Mlp, Self::Norms, Self::Head, Self::Other];

    /// As it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Embeddings => "embeddings",
            Self::Attention => "attention",
            Self::Mlp => "mlp",
            Self::Norms => "norms",
            Self::Head => "head",
            Self::Other => "other",
        }
    }

    /// The part that a tensor of this name belongs to.
    pub fn of(name: &[u8]) -> Self {
        let name = name.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| contains(&name, word.as_bytes()));
        let is = |words: &[&str]| {
            name.split(|b| *b == b'.').any(|part| words.iter().any(|word| part == word.as_bytes()))
        };
        let first = |words: &[&str]| {
            words.iter().any(|word| name.split(|b| *b == b'.').next() == Some(word.as_bytes()))
        };
        let layered = layer_of(&name).last().is_some_and(u8::is_ascii_digit);
        if has(&["norm"]) || is(&["ln_1", "ln_2", "ln_f", "ln1", "ln2", "ln_pre", "ln_post"]) {
            Self::Norms
        } else if has(&["embed", "token_embd", "position_embd"]) && !has(&["embed_out"])
            || is(&["wte", "wpe", "shared", "relative_attention_bias"])
        {
            Self::Embeddings
        } else if has(&["attn", "attention", "q_proj", "k_proj", "v_proj", "o_proj", "qkv"]) {
            Self::Attention
        } else if has(&["mlp", "ffn", "feed_forward", "feedforward", "moe", "expert", "densereludense"])
            || is(&["fc1", "fc2", "c_fc", "w1", "w2", "w3", "ff", "intermediate"])
            || has(&["gate_proj", "up_proj", "down_proj"])
            || layered && has(&["output.dense"])
        {
            Self::Mlp
        } else if has(&["lm_head", "embed_out", "classifier", "pooler", "qa_outputs", "head"])
            || first(&["output", "cls", "score", "fc"])
            || is(&["score"])
        {
            Self::Head
        } else {
            Self::Other
        }
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_and_parts_of_real_names() {
        use Part::*;
        for (name, layer, part) in [
            // Llama, Mistral, Qwen
            ("model.embed_tokens.weight", "model.embed_tokens", Embeddings),
            ("model.layers.12.self_attn.q_proj.weight", "model.layers.12", Attention),
            ("model.layers.0.mlp.gate_proj.weight", "model.layers.0", Mlp),
            ("model.layers.0.post_attention_layernorm.weight", "model.layers.0", Norms),
            ("model.norm.weight", "model.norm", Norms),
            ("lm_head.weight", "lm_head", Head),
            // Mixtral
            ("model.layers.3.block_sparse_moe.experts.3.w1.weight", "model.layers.3", Mlp),
            ("model.layers.3.block_sparse_moe.gate.weight", "model.layers.3", Mlp),
            // BERT, with and without its wrapper
            ("embeddings.word_embeddings.weight", "embeddings", Embeddings),
            ("embeddings.LayerNorm.weight", "embeddings", Norms),
            ("bert.embeddings.position_embeddings.weight", "bert.embeddings", Embeddings),
            ("encoder.layer.3.attention.output.dense.bias", "encoder.layer.3", Attention),
            ("encoder.layer.3.attention.output.LayerNorm.bias", "encoder.layer.3", Norms),
            ("bert.encoder.layer.11.intermediate.dense.weight", "bert.encoder.layer.11", Mlp),
            ("encoder.layer.3.output.dense.weight", "encoder.layer.3", Mlp),
            ("pooler.dense.weight", "pooler", Head),
            ("cls.predictions.transform.dense.weight", "cls", Head),
            ("0.auto_model.encoder.layer.5.output.dense.weight", "0.auto_model.encoder.layer.5", Mlp),
            // GPT-2, GPT-NeoX
            ("h.0.attn.c_attn.weight", "h.0", Attention),
            ("transformer.h.10.mlp.c_fc.weight", "transformer.h.10", Mlp),
            ("transformer.h.10.ln_1.weight", "transformer.h.10", Norms),
            ("transformer.wte.weight", "transformer.wte", Embeddings),
            ("wpe.weight", "wpe", Embeddings),
            ("transformer.ln_f.bias", "transformer.ln_f", Norms),
            ("gpt_neox.layers.4.attention.query_key_value.weight", "gpt_neox.layers.4", Attention),
            ("embed_out.weight", "embed_out", Head),
            // T5
            ("shared.weight", "shared", Embeddings),
            ("encoder.block.0.layer.0.SelfAttention.q.weight", "encoder.block.0", Attention),
            ("decoder.block.2.layer.2.DenseReluDense.wi.weight", "decoder.block.2", Mlp),
            ("decoder.block.2.layer.1.layer_norm.weight", "decoder.block.2", Norms),
            ("encoder.final_layer_norm.weight", "encoder.final_layer_norm", Norms),
            // LoRA
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
                "base_model.model.model.layers.0",
                Attention,
            ),
            ("base_model.model.lm_head.lora_B.weight", "base_model.model.lm_head", Head),
            (
                "lora_unet_down_blocks_0_attentions_1_proj_in.lora_down.weight",
                "lora_unet_down_blocks_0",
                Attention,
            ),
            (
                "lora_te_text_model_encoder_layers_11_mlp_fc1.alpha",
                "lora_te_text_model_encoder_layers_11",
                Mlp,
            ),
            // GGUF
            ("blk.7.attn_q.weight", "blk.7", Attention),
            ("blk.7.attn_norm.weight", "blk.7", Norms),
            ("blk.7.ffn_down_exps.weight", "blk.7", Mlp),
            ("token_embd.weight", "token_embd", Embeddings),
            ("output.weight", "output", Head),
            ("output_norm.weight", "output_norm", Norms),
            // Diffusion
            ("down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.weight", "down_blocks.0", Attention),
            (
                "down_blocks.0.attentions.1.transformer_blocks.0.ff.net.0.proj.weight",
                "down_blocks.0",
                Attention,
            ),
            ("up_blocks.3.resnets.0.conv1.weight", "up_blocks.3", Other),
            ("time_embedding.linear_1.weight", "time_embedding", Embeddings),
            ("conv_in.weight", "conv_in", Other),
            // Others
            ("vision_model.encoder.layers.2.mlp.fc1.weight", "vision_model.encoder.layers.2", Mlp),
            ("layer1.0.conv1.weight", "layer1.0", Other),
            ("0.weight", "0", Other),
            ("fc.weight", "fc", Head),
            ("classifier.bias", "classifier", Head),
            // Next to nothing
            ("weight", "weight", Other),
            ("model", "model", Other),
            ("encoder.weight", "encoder", Other),
            ("", "", Other),
            (".", "", Other),
            ("..7", "..7", Other),
            ("a.b_0_c", "a", Other),
            ("_0_", "_0", Other),
        ] {
            let found = layer_of(name.as_bytes());
            assert_eq!(std::str::from_utf8(found).unwrap(), layer, "{name}");
            assert_eq!(Part::of(name.as_bytes()), part, "{name}");
        }
        assert_eq!(layer_of(b"\xff.3.\xfe"), b"\xff.3");
    }

    #[test]
    fn numbers_go_by_their_value() {
        let mut names =
            ["b.1", "a.10.x", "a.2.y", "a.2.x", "a.02.x", "a", "a.2", "a.100000000000000000000000", ""];
        names.sort_by(|a, b| natural(a.as_bytes(), b.as_bytes()));
        assert_eq!(
            names,
            ["", "a", "a.2", "a.02.x", "a.2.x", "a.2.y", "a.10.x", "a.100000000000000000000000", "b.1"]
        );
        for a in names {
            for b in names {
                let (x, y) = (natural(a.as_bytes(), b.as_bytes()), natural(b.as_bytes(), a.as_bytes()));
                assert_eq!(x, y.reverse(), "{a} {b}");
                assert_eq!(x == Ordering::Equal, a == b);
            }
        }
    }
}
