#!/usr/bin/env python3
"""An independent reader of Ballast repositories: it follows docs/format.md and nothing else.

    pip install blake3 pycryptodome argon2-cffi zstandard
    read_v1.py REPOSITORY PASSWORD            lists every snapshot as tests/golden/v1/EXPECTED does
    read_v1.py REPOSITORY PASSWORD TARGET     and writes the files of the newest one below TARGET

It shares nothing with the Rust code, restores from packs alone where index objects are gone
(--without-index), and checks what the page says a reader must check. Slow and simple.
"""

import os
import struct
import sys

import zstandard
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from Crypto.Cipher import ChaCha20_Poly1305

MAX_PLAIN = 16 << 20
WITHOUT_INDEX = "--without-index" in sys.argv


class Damaged(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Damaged(what)


# Conventions: fields by hand


class Hand:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        need(0 <= length <= len(self.data) - self.at, "ends early")
        out = self.data[self.at : self.at + length]
        self.at += length
        return out

    def int(self, length):
        return int.from_bytes(self.take(length), "little")

    def rest(self):
        return self.data[self.at :]

    def extensions(self):
        out = []
        for _ in range(self.int(2)):
            tag, critical, length = self.int(2), self.int(1), self.int(4)
            need(critical in (0, 1), "extension flag")
            out.append((tag, critical == 1, self.take(length)))
        return out


# Conventions: records


class Record(Hand):
    def __init__(self, data):
        super().__init__(data)
        need(self.u8() == 1, "record version")

    def u8(self):
        return self.int(1)

    def uint(self, bits):
        first = self.int(1)
        if first <= 250:
            return first
        width = {251: 2, 252: 4, 253: 8}.get(first, 99)
        need(width * 8 <= bits, "integer too wide")
        return self.int(width)

    def u16(self):
        return self.uint(16)

    def u32(self):
        return self.uint(32)

    def u64(self):
        return self.uint(64)

    def signed(self, bits):
        n = self.uint(bits)
        return n // 2 if n % 2 == 0 else -(n // 2) - 1

    def bool(self):
        value = self.u8()
        need(value in (0, 1), "bool")
        return value == 1

    def id(self):
        return self.take(32)

    def bytes(self):
        return self.take(self.u64())

    def text(self):
        return self.bytes().decode("utf-8")

    def optional(self, read):
        return read() if self.bool() else None

    def list(self, read):
        return [read() for _ in range(self.u64())]

    def stamp(self):
        secs, nanos = self.signed(64), self.u32()
        need(nanos < 10**9, "nanoseconds")
        return secs, nanos

    def extensions(self, known=()):
        out = self.list(lambda: (self.u16(), self.bool(), self.bytes()))
        for tag, critical, _ in out:
            need(not critical or tag in known, f"critical extension {tag}")
        return {tag: data for tag, _, data in out}

    def end(self):
        need(self.at == len(self.data), "too long")


def open_sealed(key, nonce, aad, sealed):
    need(len(sealed) >= 16, "shorter than its seal")
    cipher = ChaCha20_Poly1305.new(key=key, nonce=nonce)
    cipher.update(aad)
    try:
        return cipher.decrypt_and_verify(sealed[:-16], sealed[-16:])
    except ValueError:
        raise Damaged("seal") from None


def prefix(data, kind):
    need(data[:7] == b"ballast" and data[7] == 1, "no Ballast object")
    need(data[8] == kind and data[9] == 1, "kind or suite")
    return int.from_bytes(data[10:12], "little")


def derive(context, material):
    return blake3(material, derive_key_context=context).digest()


def join_planes(data, plain):
    width, flags, lead = data[0], data[1], data[2]
    need(width in (2, 4) and flags in (0, 1) and lead < width, "planes")
    count = (plain - lead) // width
    heads = [struct.unpack_from("<BI", data, 3 + 5 * p) for p in range(width)]
    at = 3 + 5 * width
    out = bytearray(data[at : at + lead]) + bytearray(count * width)
    at += lead
    for p, (coding, length) in enumerate(heads):
        plane = data[at : at + length]
        at += length
        need(coding in (0, 1), "coding of a plane")
        if coding == 1:
            plane = zstandard.ZstdDecompressor().decompress(plane, max_output_size=count)
        need(len(plane) == count, "length of a plane")
        out[lead + p : lead + count * width : width] = plane
    if flags == 1:
        code = "<%d%s" % (count, "H" if width == 2 else "I")
        bits = 8 * width
        turned = struct.unpack_from(code, out, lead)
        struct.pack_into(code, out, lead, *((v >> 1 | (v & 1) << bits - 1) for v in turned))
    return bytes(out) + data[at:]


# Fields


def take_layout(h):
    """Blocks as a header describes them: their length, and (run, lanes, peak, key, halved) of each stream."""
    period, count = h.int(2), h.int(1)
    need(1 <= period <= 512 and 1 <= count <= 16, "blocks")
    streams, seen, symbols = [], [0] * period, 0
    for number in range(count):
        flags, run, lanes = h.int(1), h.int(1), h.int(1)
        need(flags < 16 and run >= 1 and lanes >= 1 and not (flags & 2 and run > 127), "field")
        parts = []
        for _ in range(lanes):
            lane = []
            for _ in range(1 + (flags & 1)):
                offset, places = h.int(2), h.int(1)
                shift, width = places & 15, places >> 4
                need(shift <= 7 and shift + width <= 8 and offset + run <= period, "part of a field")
                for at in range(offset, offset + run):
                    bits = (1 << width) - 1 << shift
                    need(seen[at] & bits == 0, "a bit taken twice")
                    seen[at] |= bits
                lane.append((offset, shift, width))
            parts.append(lane)
        widths = {sum(width for _, _, width in lane) for lane in parts}
        need(len(widths) == 1 and max(widths) <= 8 and all(lane[0][2] for lane in parts), "bits of a field")
        peak = h.take(2) if flags & 2 else None
        key = []
        if flags & 4:
            terms = h.int(1)
            need(1 <= terms <= 8 and 2 * lanes <= period, "terms of a key")
            for _ in range(terms):
                of, reading, weight = h.int(1), h.int(1), h.int(2)
                need(of < number and reading <= 3, "term of a key")
                key.append((of, reading, weight - (weight >> 15 << 16)))
        streams.append((run, parts, peak, key, flags & 8 != 0))
        symbols += run * lanes
    need(all(bits == 255 for bits in seen) and symbols <= 4 * period, "bits left out")
    return period, streams


def logarithm(value):
    if value == 0:
        return 0
    exponent = value.bit_length() - 1
    return exponent + 15 << 10 | (value << 10 >> exponent) & 1023


READINGS = [
    lambda v: v,
    logarithm,
    lambda v: logarithm(v if v < 128 else 256 - v),
    lambda v: v & 127,
]


def decode_fields(data, plain):
    h = Hand(data)
    period, streams = take_layout(h)
    blocks = plain // period
    out, all_symbols = bytearray(blocks * period), []
    for run, lanes, peak, key, halved in streams:
        count = blocks * len(lanes)
        peaks = stream(h, count) if peak else b"\x7f" * count
        bounds = [int.from_bytes(h.take(4), "little", signed=True) for _ in range(h.int(1))] if key else []
        need(len(bounds) < 64 and all(a < b for a, b in zip(bounds, bounds[1:])), "groups")
        groups = []
        for index in range(count):
            block, lane = divmod(index, len(lanes))
            total = 0
            for of, reading, weight in key:
                each = streams[of][0] * len(streams[of][1])
                symbol = all_symbols[of][block * each + lane * each // len(lanes)]
                total += weight * READINGS[reading](symbol)
            total = (total + (1 << 31)) % (1 << 32) - (1 << 31)
            groups.append(sum(total >= bound for bound in bounds))
        lengths = [run - (p != 127) for p in peaks]
        sizes = [sum(n for n, g in zip(lengths, groups) if g == group) for group in range(len(bounds) + 1)]
        ordered = [stream(h, size) for size in sizes]
        if halved:
            low = int.from_bytes(h.take((sum(sizes) + 7) // 8), "little")
            at = 0
            for group, part in enumerate(ordered):
                ordered[group] = bytes((s << 1 & 255) | low >> at + i & 1 for i, s in enumerate(part))
                at += len(part)
        ordered, symbols = [Hand(part) for part in ordered], bytearray()
        for p, group, length in zip(peaks, groups, lengths):
            part = ordered[group].take(length)
            if p != 127:
                need(p & 127 < run, "a peak outside of its run")
                part = part[: p & 127] + peak[p >> 7 : (p >> 7) + 1] + part[p & 127 :]
            symbols += part
        all_symbols.append(symbols)
        put_field(out, period, blocks, run, lanes, symbols)
    return bytes(out) + h.rest()


def put_field(out, period, blocks, run, lanes, symbols):
    at = 0
    for start in range(0, blocks * period, period):
        for lane in lanes:
            for i in range(run):
                symbol = symbols[at]
                at += 1
                for offset, shift, width in lane:
                    out[start + offset + i] |= (symbol & (1 << width) - 1) << shift
                    symbol >>= width


def decode_field_delta(h, base, plain):
    period, streams = take_layout(h)
    blocks = min(plain, len(base)) // period
    need(blocks >= 1 and not any(peak or key or halved for _, _, peak, key, halved in streams), "fields of a delta")
    out = bytearray(blocks * period)
    for run, lanes, *_ in streams:
        count = blocks * len(lanes) * run
        bits = sum(width for _, _, width in lanes[0])
        numbers = take_group(h, count)
        symbols, at = bytearray(), 0
        for start in range(0, blocks * period, period):
            for lane in lanes:
                for i in range(run):
                    old = up = 0
                    for offset, shift, width in lane:
                        old |= (base[start + offset + i] >> shift & (1 << width) - 1) << up
                        up += width
                    n = numbers[at]
                    at += 1
                    symbols.append(old + (n >> 1 if n & 1 == 0 else -(n >> 1) - 1) & (1 << bits) - 1)
        put_field(out, period, blocks, run, lanes, symbols)
    return bytes(out) + take_tail(h, plain - len(out))


def take_group(h, count):
    """Numbers of one byte: shape, symbols, low bits, escapes."""
    shape = h.int(1)
    shift, pack = shape & 31, shape >> 5
    need(shift <= 24 and pack <= 3 and (pack == 0 or shift == 0), "shape")
    packed, size = stream(h, -(-count >> pack)), 8 >> pack
    low = int.from_bytes(h.take((count * shift + 7) // 8), "little")
    escaped = h.int(4)
    need(escaped <= count, "escapes")
    escapes = iter(stream(h, escaped) if escaped else b"")
    out, greatest = [], (1 << size) - 1
    for i in range(count):
        symbol = packed[i * size // 8] >> i * size % 8 & greatest
        if symbol == greatest:
            more = next(escapes, None)
            need(more is not None, "too few escapes")
            symbol += more
        out.append((symbol << shift | low >> i * shift & (1 << shift) - 1) & 255)
    need(next(escapes, None) is None, "too many escapes")
    return out


def take_tail(h, left):
    if left:
        return decode_alone(h.int(1), h.rest(), left)
    need(not h.rest(), "delta too long")
    return b""


# Delta


def unpack_zstd(data, length):
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=length)


def decode_alone(encoding, data, plain, version=1):
    need(encoding in (0, 1, 2), "encoding")
    if encoding == 1:
        data = unpack_zstd(data, plain)
    if encoding == 2:
        data = join_planes(data, plain) if version == 1 else decode_fields(data, plain)
    need(len(data) == plain, "plain length")
    return data


def decode_delta(data, edges, plain):
    """edges: the bytes that each of the frame's edges names."""
    h = Hand(data)
    bases, used = [], 0
    for _ in range(h.int(1)):
        count, offset, length = h.int(1), h.int(4), h.int(4)
        need(count >= 1 and used + count <= len(edges), "edges of a base")
        joined = b"".join(edges[used : used + count])
        used += count
        need(offset + length <= len(joined), "base outside its edges")
        bases.append(joined[offset : offset + length])
    need(len(bases) in (1, 2) and used == len(edges), "bases")
    method = h.int(1)
    if method == 1:
        prefix = b"".join(bases)
        need(len(prefix) <= 8 << 20, "prefix too long")
        raw = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        out = zstandard.ZstdDecompressor(dict_data=raw).decompress(h.rest(), max_output_size=plain)
    elif method == 4:
        need(len(bases) == 1, "bases")
        out = decode_field_delta(h, bases[0], plain)
    else:
        need(method in (2, 3) and len(bases) == method - 1, "method of a delta")
        out = decode_numbers(h, bases, plain)
    need(len(out) == plain, "plain length")
    return out


# Delta by grains

GRAIN = 4096


def varint(h):
    value, shift = 0, 0
    while True:
        byte = h.int(1)
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            need(value < 1 << 64, "number too long")
            return value
        need(shift < 70, "number too long")


def cut_in_grains(data):
    return [data[at : at + GRAIN] for at in range(0, len(data), GRAIN)]


def decode_grains(data, bases, plain):
    """bases: the bytes of each blob that the edges stand for."""
    old = [grain for base in bases for grain in cut_in_grains(base)]
    count = -(-plain // GRAIN)
    need(count <= 4096 and len(old) <= 1 << 24, "too many grains")
    h = Hand(data)
    length, packed = varint(h), varint(h)
    need(length <= 1 << 17, "recipe too long")
    recipe = h.take(packed or length)
    if packed:
        recipe = unpack_zstd(recipe, length)
    need(len(recipe) == length, "length of the recipe")
    r = Hand(recipe)

    prefix, after = [], 0
    for _ in range(varint(r)):
        first = after + varint(r)
        after = first + varint(r)
        need(first < after <= len(old) and len(prefix) + after - first <= 4096, "run of grains")
        prefix += old[first:after]

    # For each grain of the plaintext the old one that it is, or None.
    source, cursor = [], 0
    while len(source) < count:
        step = varint(r)
        kind, n = step & 3, step >> 2
        if kind == 3:
            cursor += n >> 1 if n & 1 == 0 else -(n >> 1) - 1
            need(0 <= cursor <= len(old), "seek")
            continue
        need(0 < n <= count - len(source), "step")
        named = old[cursor : cursor + n]
        if kind != 2:
            need(len(named) == n, "step beyond the bases")
            cursor += n
        if kind == 1:
            prefix += named
        source += named if kind == 0 else [None] * n
    need(not r.rest() and len(prefix) <= 4096, "recipe")

    lengths = [min(GRAIN, plain - at) for at in range(0, plain, GRAIN)]
    total = sum(length for length, grain in zip(lengths, source) if grain is None)
    stream, new = h.rest(), b""
    if total:
        raw = zstandard.ZstdCompressionDict(b"".join(prefix), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        new = zstandard.ZstdDecompressor(dict_data=raw).decompress(stream, max_output_size=total)
    else:
        need(not stream, "bytes of no grain")
    need(len(new) == total, "new grains")
    out, at = [], 0
    for length, grain in zip(lengths, source):
        if grain is None:
            grain, at = new[at : at + length], at + length
        need(len(grain) == length, "length of a grain")
        out.append(grain)
    return b"".join(out)


def stream(h, length):
    coding, stored = h.int(1), h.take(h.int(4))
    need(coding in (0, 1), "coding of a stream")
    out = stored if coding == 0 else unpack_zstd(stored, length)
    need(len(out) == length, "length of a stream")
    return out


def decode_numbers(h, bases, plain):
    kind, lead, quarters, log = h.int(1), h.int(1), h.int(1), h.int(1)
    need(kind <= 4 and 4 <= log <= 16, "kind or block")
    width = [2, 2, 4, 2, 4][kind]
    need(lead < width and (quarters == 0 if len(bases) == 1 else 1 <= quarters <= 4), "lead or quarters")
    count = min((n - lead) // width for n in [plain] + [len(b) for b in bases])
    need(count >= 1, "nothing covered")
    out = [h.take(lead)]
    code = "H" if width == 2 else "I"
    numbers = [struct.unpack_from(f"<{count}{code}", b, lead) for b in bases]
    for start in range(0, count, 1 << 19):
        part = [n[start : start + (1 << 19)] for n in numbers]
        values = segment(h, kind, width, quarters, 1 << log, part)
        out.append(struct.pack(f"<{len(values)}{code}", *values))
    out.append(take_tail(h, plain - lead - count * width))
    return b"".join(out)


def segment(h, kind, width, quarters, block, part):
    base, total, bits = part[0], len(part[0]), 8 * width
    zeros, origin = h.int(1), h.int(2)
    need(zeros < bits and origin <= 1023, "zeros or origin")
    bounds = list(h.take(h.int(1)))
    need(all(a < b for a, b in zip([0] + bounds, bounds + [96])), "bounds")
    scales = stream(h, -(-total // block))

    # Which group each element is in.
    low_bit, mask = [(7, 255), (10, 31), (23, 255), (0, 0), (0, 0)][kind]
    group_of = []
    for i, b in enumerate(base):
        scale, exponent = scales[i // block], max(b >> low_bit & mask, 1)
        key = 0 if scale == 0 else min(max(origin + scale - 1 - 48 - 2 * exponent, 1), 95)
        group_of.append(sum(key >= bound for bound in bounds))
    counts = [0] * (len(bounds) + 1)
    for group in group_of:
        counts[group] += 1

    shapes, symbols = [], []
    for count in counts:
        shape = h.int(1)
        shift, pack = shape & 31, shape >> 5
        need(shift <= 24 and pack <= 3 and (pack == 0 or shift == 0), "shape")
        packed, size = stream(h, -(-count >> pack)), 8 >> pack
        every = (byte >> at & (1 << size) - 1 for byte in packed for at in range(0, 8, size))
        shapes.append((shift, (1 << size) - 1))
        symbols.append([symbol for symbol, _ in zip(every, range(count))])
    lows = [int.from_bytes(h.take((count * shift + 7) // 8), "little") for count, (shift, _) in zip(counts, shapes)]
    escaped = h.int(4)
    need(escaped <= total, "escapes")
    planes = [stream(h, escaped) for _ in range(width)] if escaped else []
    escapes = iter([sum(plane[i] << 8 * p for p, plane in enumerate(planes)) for i in range(escaped)])

    ordered = []
    for (shift, greatest), group, low in zip(shapes, symbols, lows):
        values = []
        for i, symbol in enumerate(group):
            if symbol == greatest:
                more = next(escapes, None)
                need(more is not None, "too few escapes")
                symbol += more
            values.append(symbol << shift | low >> i * shift & (1 << shift) - 1)
        ordered.append(iter(values))
    need(next(escapes, None) is None, "too many escapes")

    out, wrap, half = [], (1 << bits) - 1, 1 << bits - 1
    for i, b in enumerate(base):
        n = next(ordered[group_of[i]])
        step = 0
        if quarters:
            step = b - part[1][i] & wrap
            step = (step - (1 << bits) if step >= half else step) * quarters >> 2
        difference = n >> 1 if n & 1 == 0 else -(n >> 1) - 1
        out.append(b + step + (difference << zeros) & wrap)
    return out


class Repository:
    def __init__(self, path, password):
        self.path = path
        self.unlock(password)
        try:
            config = self.envelope("config", 1, "config", b"config")
        except (Damaged, OSError) as error:
            print(f"config: {error}; using the copy in the key file", file=sys.stderr)
            config = self.config_copy
        need(self.read_config(config) == self.id, "config of another repository")
        need(self.features[0] == 0, "incompatible feature")
        self.read_ledger()
        self.read_index()

    def names(self, directory):
        path = os.path.join(self.path, directory)
        return sorted(n for n in os.listdir(path) if not n.startswith(".")) if os.path.isdir(path) else []

    def read(self, *parts):
        with open(os.path.join(self.path, *parts), "rb") as file:
            return file.read()

    def named_by_bytes(self, directory, name):
        data = self.read(directory, name)
        need(blake3(data).hexdigest() == name, "name")
        return data

    # Key file

    def unlock(self, password):
        for name in self.names("keys")[:16]:
            file = self.named_by_bytes("keys", name)
            need(len(file) == 1536, "key file length")
            prefix(file, 2)
            hand = Hand(file)
            hand.take(12)
            need(hand.int(2) == 1 and hand.int(1) == 1, "key file version")
            hand.take(1)
            memory, passes, lanes = hand.int(4), hand.int(4), hand.int(4)
            need(memory <= 1 << 20 and passes <= 16 and lanes <= 16, "key derivation")
            hand.take(4)
            salt, self.id, commitment = hand.take(32), hand.take(32), hand.take(32)
            key = hash_secret_raw(password, salt, passes, memory, lanes, 64, Type.ID, 0x13)
            if key[32:] != commitment:
                continue
            body = open_sealed(key[:32], file[408:432], file[:408], file[432:])
            length = int.from_bytes(body[:2], "little")
            need(not any(body[2 + length :]), "padding")
            record = Record(body[2 : 2 + length])
            need(record.u8() == 0, "rights")
            self.secrets = dict(record.list(lambda: (record.u16(), record.take(32))))
            self.config_copy = record.bytes()
            record.extensions()
            record.end()
            need(self.read_config(self.config_copy) == self.id, "config of another repository")
            return
        raise SystemExit("wrong password")

    def seal_key(self, purpose, epoch):
        need(epoch in self.secrets, f"no key of epoch {epoch}")
        return derive(f"ballast v1 seal {purpose}", self.secrets[epoch])

    def envelope(self, path, kind, purpose, chosen=b""):
        data = self.read(path)
        if not chosen:
            need(blake3(data).hexdigest() == os.path.basename(path), "name")
        need(len(data) >= 52, "shorter than an envelope")
        epoch = prefix(data, kind)
        aad = self.id + data[:36] + chosen
        return open_sealed(self.seal_key(purpose, epoch), data[12:36], aad, data[36:])

    def read_config(self, data):
        c = Record(data)
        repo_id = c.take(32)
        c.stamp()
        self.features = [c.u64() for _ in range(3)]
        c.u16(), c.u16()
        sizes = [c.u32() for _ in range(9)]
        need(sizes[0] < sizes[1] < sizes[2] <= MAX_PLAIN, "sizes")
        need(c.u8() <= 1, "padding")
        self.store_mode = c.u8()
        c.take(32)
        id_secret = c.take(32)
        c.extensions()
        c.end()
        self.id_keys = [derive(f"ballast v1 id {kind}", id_secret) for kind in range(5)]
        return repo_id

    # Ledger

    def read_ledger(self):
        self.committed, forgotten, self.condemned = [], set(), set()
        before, number = [bytes(32)], 1
        while True:
            names = [n for n in self.names("ledger") if n.split("-")[0] == str(number)]
            if not names:
                break
            hashes = []
            for name in names:
                plain = self.envelope(f"ledger/{name}", 6, "ledger", name.encode())
                hashes.append(blake3(self.read("ledger", name)).digest())
                r = Record(plain)
                need(r.u64() == number, "ledger number")
                need(r.take(32) in before, "ledger link")
                r.take(16), r.stamp(), r.text(), r.text(), r.text()
                kind, event = r.u8(), r.bytes()
                r.extensions()
                r.end()
                if kind == 1:
                    e = Record(event)
                    self.committed.append(e.id())
                    e.end()
                elif kind == 2:
                    e = Record(event)
                    forgotten.update(e.list(e.id))
                    e.text()
                    e.end()
                elif kind == 3:
                    e = Record(event)
                    self.condemned.update(e.list(e.id))
                elif kind == 5:
                    e = Record(event)
                    self.features = [have | e.u64() for have in self.features]
                    need(self.features[0] == 0, "incompatible feature")
            before, number = hashes, number + 1
        last = max((int(n.split("-")[0]) for n in self.names("ledger")), default=0)
        need(last == number - 1, "ledger entry missing")
        self.committed = [s for s in self.committed if s not in forgotten]

    # Index

    def frame_record(self, h):
        offset, stored, plain = h.int(4), h.int(4), h.int(4)
        need(40 <= stored <= MAX_PLAIN + (64 << 10) and plain <= MAX_PLAIN, "frame size")
        encoding, version, height, _ = (h.int(1) for _ in range(4))
        edges, blobs = h.int(1), h.int(2)
        need(1 <= blobs <= 4096 and (height == 0) == (edges == 0), "frame counts")
        edges = b"".join(h.take(34) for _ in range(edges))
        blobs = [(h.int(1), h.int(4), h.take(32)) for _ in range(blobs)]
        need(sum(length for _, length, _ in blobs) == plain, "frame length")
        return offset, stored, plain, encoding, version, height, edges, blobs

    def add(self, pack, epoch, frame):
        at = 0
        for kind, length, blob in frame[7]:
            self.places.setdefault((kind, blob), []).append((pack, epoch, frame, at, length))
            at += length

    def read_index(self):
        self.places, self.frames = {}, {}
        if WITHOUT_INDEX:
            return self.read_trailers()
        for name in self.names("index"):
            h = Hand(self.envelope(f"index/{name}", 4, "index"))
            need(h.int(1) == 1, "index version")
            h.take(3 + 16)
            for _ in range(h.int(4)):
                h.take(32)
            for _ in range(h.int(4)):
                pack, size = h.take(32), h.int(8)
                h.take(2)
                epoch = h.int(2)
                for _ in range(h.int(4)):
                    frame = self.frame_record(h)
                    need(12 <= frame[0] and frame[0] + frame[1] <= size, "frame outside its pack")
                    self.add(pack, epoch, frame)
            need(not any(critical for _, critical, _ in h.extensions()), "critical extension")
            need(not h.rest(), "index too long")

    def read_trailers(self):
        for shelf in self.names("data"):
            for name in self.names(f"data/{shelf}"):
                data = self.named_by_bytes(f"data/{shelf}", name)
                epoch = prefix(data, 3)
                key = self.seal_key("trailer", epoch)

                def part(sealed, word):
                    aad = self.id + word + b"\1\1" + struct.pack("<H", epoch)
                    return open_sealed(key, sealed[:24], aad, sealed[24:])

                footer = Hand(part(data[-136:], b"footer"))
                need(footer.int(1) == 1, "footer version")
                count = footer.int(1)
                footer.take(2)
                sections = [(footer.int(4), footer.int(8), footer.int(8)) for _ in range(count)]
                [(offset, length)] = [(o, n) for kind, o, n in sections if kind == 1]
                need(offset + length <= len(data) - 136, "section outside the pack")
                h = Hand(part(data[offset : offset + length], b"trailer"))
                need(h.int(1) == 1, "trailer version")
                h.take(3 + 16)
                need(h.int(8) == offset, "trailer not at the end of the frames")
                need(h.take(32) == blake3(data[:offset]).digest(), "frame region")
                end = 12
                for _ in range(h.int(4)):
                    frame = self.frame_record(h)
                    need(frame[0] == end, "gap between frames")
                    end += frame[1]
                    self.add(bytes.fromhex(name), epoch, frame)
                need(end == offset, "gap after frames")
                need(not any(critical for _, critical, _ in h.extensions()), "critical extension")
                need(not any(h.rest()), "padding")
                self.check_padme(len(data))

    @staticmethod
    def check_padme(length):
        e = length.bit_length() - 1
        s = e.bit_length()  # floor(log2 e) + 1
        need(length % (1 << (e - s)) == 0, "not a Padmé length")

    # Blobs

    def frame(self, pack, epoch, frame):
        offset, stored, plain, encoding, version, height, edges, _ = frame
        key = (pack, offset)
        if key not in self.frames:
            name = pack.hex()
            with open(os.path.join(self.path, "data", name[:2], name), "rb") as file:
                file.seek(offset)
                sealed = file.read(stored)
            known = version == 1 and encoding <= 3 or version == 2 and encoding in (2, 3)
            need(known and bool(edges) == (encoding == 3), "encoding")
            aad = self.id + b"frame\1\1" + struct.pack("<HBBIB", epoch, encoding, version, plain, len(edges) // 34)
            data = open_sealed(self.seal_key("frame", epoch), sealed[:24], aad + edges, sealed[24:])
            if version == 2 and encoding == 3:
                need(all(length % GRAIN == 0 for _, length, _ in frame[7][:-1]), "a blob within a grain")
                named = [edges[i : i + 34] for i in range(0, len(edges), 34)]
                bases = [blob for edge in named for blob in self.base_blobs(edge, height)]
                need(len(bases) <= 1 << 20, "too many bases")
                data = decode_grains(data, bases, plain)
            elif encoding == 3:
                named = [edges[i : i + 34] for i in range(0, len(edges), 34)]
                data = decode_delta(data, [self.base(edge, height) for edge in named], plain)
            else:
                data = decode_alone(encoding, data, plain, version)
            self.frames[key] = data
        return self.frames[key]

    def base(self, edge, height):
        """What an edge names, from copies of less height than the frame's own."""
        how, kind, blob = edge[0], edge[1], edge[2:]
        need(how == 0 or (how == 1 and kind == 1), "edge")
        if how == 0:
            return self.blob(kind, blob, height)
        pieces = self.content(self.list_entries(blob, height), 1, height)
        return b"".join(bytes(piece) if isinstance(piece, int) else piece for piece in pieces)

    def base_blobs(self, edge, height, depth=0):
        """The blobs that an edge of a delta by grains stands for: one, or each chunk that a list describes."""
        how, kind, blob = edge[0], edge[1], edge[2:]
        need(how == 0 or (how == 1 and kind == 1), "edge")
        if how == 0:
            return [self.blob(kind, blob, height)]
        need(depth <= 8, "lists nested too deep")
        out = []
        for tag, what, length in self.list_entries(blob, height):
            need(tag in (0, 1), "a list of a base describes more than chunks")
            need(length > 0, "something empty in a list of a base")
            inner = [self.blob(0, what, height)] if tag == 0 else self.base_blobs(b"\1\1" + what, height, depth + 1)
            need(sum(map(len, inner)) == length, "length in a list")
            out += inner
        return out

    def blob(self, kind, blob, below=256):
        def last(place):
            return (place[0] in self.condemned, place[2][5])

        why = "no place"
        for pack, epoch, frame, at, length in sorted(self.places.get((kind, blob), []), key=last):
            if frame[5] >= below:
                continue
            try:
                data = self.frame(pack, epoch, frame)[at : at + length]
                need(blake3(data, key=self.id_keys[kind]).digest() == blob, "id")
                return data
            except (Damaged, OSError) as error:
                why = error
        raise Damaged(f"blob {kind} {blob.hex()}: {why}")

    # Content and trees

    def entry(self, r):
        tag = r.u32()
        need(tag <= 4, "entry tag")
        if tag == 0:
            return tag, r.id(), r.u32()
        if tag == 1:
            return tag, r.id(), r.u64()
        if tag == 2:
            return tag, None, r.u64()
        if tag == 3:
            data = r.bytes()
            return tag, data, len(data)
        return tag, r.id(), 0

    def list_entries(self, blob, below=256):
        r = Record(self.blob(1, blob, below))
        entries = r.list(lambda: self.entry(r))
        r.extensions()
        r.end()
        return entries

    def content(self, entries, depth=0, below=256):
        """Stretches of bytes; an int is a hole."""
        need(depth <= 8, "lists nested too deep")
        for tag, what, length in entries:
            if tag == 0:
                data = self.blob(0, what, below)
                need(len(data) == length, "chunk length")
                yield data
            elif tag == 1:
                inner = self.list_entries(what, below)
                need(sum(e[2] for e in inner) == length, "list length")
                yield from self.content(inner, depth + 1, below)
            elif tag == 2:
                yield length
            elif tag == 3:
                yield what
            else:
                raise Damaged("tree in content")

    def node(self, r):
        n = {"name": r.bytes(), "type": r.u32(), "mode": r.u32(), "uid": r.u32(), "gid": r.u32()}
        need(n["name"] not in (b"", b".", b"..") and not set(n["name"]) & {0, 47}, "name")
        need(n["type"] <= 6, "type")
        r.bytes(), r.bytes()
        n["size"], n["mtime"], n["ctime"], n["btime"] = r.u64(), r.stamp(), r.stamp(), r.optional(r.stamp)
        n["inode"], n["device"], n["nlink"], n["rdev"] = r.u64(), r.u64(), r.u64(), r.u64()
        r.u32(), r.u8(), r.u8()
        n["seams"] = r.optional(r.id)
        n["content"] = r.list(lambda: self.entry(r))
        n["extensions"] = r.extensions(known=(1, 2, 3))
        tags = [entry[0] for entry in n["content"]]
        need({0: 4 not in tags, 1: tags == [4], 2: tags == [3]}.get(n["type"], not tags), "shape of content")
        return n

    def tree(self, blob, kind=2):
        r = Record(self.blob(kind, blob))
        nodes = r.list(lambda: self.node(r))
        parts = r.list(lambda: (r.id(), r.bytes(), r.u64()))
        r.extensions()
        r.end()
        need(not nodes or not parts, "nodes and parts")
        need(kind == 2 or not parts, "parts of parts")
        for part, first, count in parts:
            inner = self.tree(part, 3)
            need(len(inner) == count and inner[0]["name"] == first, "tree part")
            nodes += inner
        names = [n["name"] for n in nodes]
        need(all(a < b for a, b in zip(names, names[1:])), "order of names")
        return nodes

    def snapshot(self, name):
        r = Record(self.envelope(f"snapshots/{name.hex()}", 5, "snapshot"))
        s = {"time": r.stamp(), "offset": r.signed(32), "host": r.text(), "user": r.text()}
        s["paths"], s["tags"], s["description"] = r.list(r.bytes), r.list(r.text), r.text()
        s["parent"], s["program"], s["partial"], s["root"] = r.optional(r.id), r.text(), r.bool(), r.id()
        s["counts"] = [r.u64() for _ in range(11)]
        s["problems"] = r.u64(), r.list(lambda: (r.bytes(), r.u8(), r.text()))
        r.extensions()
        r.end()
        return s

    def seams(self, blob):
        r = Record(self.blob(4, blob))
        layout = r.u8()
        seams = r.list(lambda: (r.bytes(), r.bytes(), r.list(r.u64), r.u64(), r.u64()))
        r.extensions()
        r.end()
        return layout, seams


# What tests/golden/v1/EXPECTED says


def printable(data):
    return "".join(chr(b) if 0x20 < b < 0x7F and b != 37 else f"%{b:02x}" for b in data)


TYPES = ["file", "directory", "link", "fifo", "socket", "device", "device"]


def listing(repo, above, tree, target, links):
    for n in repo.tree(tree):
        path = above + b"/" + n["name"]
        here = target + path if target else None
        digest = "-"
        if n["type"] == 0:
            hasher, out, length = blake3(), None, 0
            first = links.setdefault((n["device"], n["inode"]), here) if n["nlink"] > 1 else here
            if here and first == here:
                out = open(here, "xb")
            for piece in repo.content(n["content"]):
                hole = isinstance(piece, int)
                hasher.update(bytes(piece) if hole else piece)
                length += piece if hole else len(piece)
                if out and hole:
                    out.truncate(out.seek(piece, 1))
                elif out:
                    out.write(piece)
            if out:
                out.close()
            elif here:
                os.link(first, here)
            need(length == n["size"], "size")
            digest = hasher.hexdigest()
        elif here and n["type"] == 1:
            os.mkdir(here)
        elif here and n["type"] == 2:
            os.symlink(n["content"][0][1], here)
        elif here and n["type"] == 3:
            os.mkfifo(here)
        line = f"{TYPES[n['type']]} {n['mode']:04o} {n['uid']}:{n['gid']} {n['mtime'][0]}.{n['mtime'][1]:09}"
        line += f" {n['nlink']} {n['size']} {digest} {printable(path)}"
        if n["type"] == 2:
            line += f" -> {printable(n['content'][0][1])}"
        if 1 in n["extensions"]:
            r = Record(n["extensions"][1])
            for name, value in r.list(lambda: (r.bytes(), r.bytes())):
                line += f" xattr {printable(name)}={value.hex()}"
            r.end()
        if n["seams"]:
            seams = repo.seams(n["seams"])[1]
            need(seams[-1][3] + seams[-1][4] == n["size"], "seams")
        print(line)
        if n["type"] == 1:
            listing(repo, path, n["content"][0][1], target, links)
        if here and n["type"] != 2:
            os.chmod(here, n["mode"])
            os.utime(here, ns=(0, n["mtime"][0] * 10**9 + n["mtime"][1]))


def main():
    arguments = [a for a in sys.argv[1:] if not a.startswith("--")]
    if len(arguments) not in (2, 3):
        raise SystemExit(__doc__)
    repo = Repository(arguments[0], arguments[1].encode())
    target = os.fsencode(arguments[2]) if len(arguments) == 3 else b""
    snapshots = sorted(((repo.snapshot(s), s) for s in repo.committed), key=lambda pair: pair[0]["time"])
    for s, name in snapshots:
        parent = s["parent"].hex() if s["parent"] else "-"
        print(f"snapshot {name.hex()} {s['time'][0]} {s['host']} {','.join(s['tags'])} {parent}")
        newest = name == snapshots[-1][1]
        listing(repo, b"", s["root"], target if newest else b"", {})


main()
