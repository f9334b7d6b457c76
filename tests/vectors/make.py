"""Golden vectors of protocol version 1, from the design and not from the code: name = hexadecimal bytes."""

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

LABEL = b"p2p-agent/1 "


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def standing(state, size, available, active, rank, attempt):
    return struct.pack(">BBQQB16sB", state, size is not None, size or 0, available, active, rank, attempt)


def show(name, value):
    print(f"{name} = {value.hex()}")


# --- keys ---
MD5 = hashlib.md5(b"hello, players").digest()
DOMAIN = bytes(range(32))
NODE = bytes.fromhex("0102030405060708")
show("md5", MD5)
for domain, key in (("open", b""), ("domain", DOMAIN)):
    root = mac(key, MD5)
    show(f"{domain} id", mac(root, LABEL, b"id")[:16])
    show(f"{domain} tie break", mac(root, LABEL, b"rank", NODE)[:8])
PUBLIC_ID = mac(root, LABEL, b"id")[:16]
PROOF, CLAIM, CONTENT = (mac(root, LABEL, name) for name in (b"proof", b"claim", b"content"))

# --- transcript: the values are in src/transcript.rs, `tests::sample` ---
ASKER = (1, None, 5, 3, bytes([0xAA] * 16), 1)
ANSWER = (5, 500_000_000, 500_000_000, 20, bytes([0xBB] * 16), 2)
IDLE = (0, None, 0, 0, bytes(16), 0)


def transcript(role):
    ask = struct.pack(">BB4s4s16s16s", 1, role, bytes([192, 168, 1, 10]), bytes([192, 168, 1, 20]), PUBLIC_ID, bytes([0x11] * 16))
    answer = bytes([0x22] * 16) + standing(*ANSWER) if role >= 2 else bytes(16) + standing(*IDLE)
    take = struct.pack(">QB", 1 << 33, 1) if role >= 3 else bytes(9)
    give = bytes([0x33] * 16) if role >= 4 else bytes(16)
    return ask + standing(*ASKER) + answer + take + give


for role, name in enumerate(("query", "answer", "take", "give"), 1):
    show(f"{name} transcript", transcript(role))
    show(f"{name} proof", mac(PROOF, transcript(role))[:16])
TRANSFER = mac(CONTENT, LABEL, b"transfer", transcript(4))[:24]
show("transfer keys", TRANSFER)


# --- a batched query: one content of it ---
def survey(role, said):
    head = struct.pack(">BB4s4s16s16s", 1, role, bytes([192, 168, 1, 10]), bytes([192, 168, 1, 20]), PUBLIC_ID, bytes([0x11] * 16))
    return head + standing(*IDLE) + bytes(16) + standing(*said) + bytes(8 + 1 + 16)


show("survey asked", PUBLIC_ID + mac(PROOF, survey(5, IDLE))[:16])
show("survey told", standing(*ANSWER) + mac(PROOF, survey(6, ANSWER))[:16])


# --- records: 0 = 100 bytes, 1 = heartbeat, 2 = a full one, 3 = 1 byte and the last; byte i of record n is (i + n) mod 251 ---
def record(index, length, last):
    counter = TRANSFER[16:] + struct.pack(">Q", index * 8192)
    stream = Cipher(algorithms.AES(TRANSFER[:16]), modes.CTR(counter)).encryptor()
    one_time = stream.update(bytes(32))
    text = stream.update(bytes((i + index) % 251 for i in range(length)))
    head = struct.pack(">II", index, length | last << 31)
    padded = head + bytes(8) + text + bytes(-len(text) % 16) + struct.pack("<QQ", 8, len(text))
    return head + Poly1305.generate_tag(one_time, padded) + text


for index, (length, last) in enumerate(((100, 0), (0, 0), (65536, 0), (1, 1))):
    whole = record(index, length, last)
    show(f"record {index}", whole if length < 1000 else whole[:24] + hashlib.sha256(whole[24:]).digest())


# --- datagrams: the values are in src/wire.rs, `tests`; postcard's varints by hand ---
def varint(number):
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def zigzag(number):
    return varint((number << 1) ^ (number >> 63))


def text(value):
    return varint(len(value)) + value.encode()


def datagram(kind, *parts):
    return (bytes([1, kind]) + b"".join(parts)).ljust(192, b"\0")


T1, T2, T3 = 1_700_000_000_000_000_001, 1_700_000_000_000_300_000, -5
PEER = bytes.fromhex("1112131415161718")
NONCE = bytes(range(0x40, 0x50))
show("probe", datagram(1, NODE, text("Linux 6.12.47"), NONCE, zigzag(T1), varint(3000), bytes([0b101])))
echo = NODE + NONCE + zigzag(T1) + text("Linux 6.12.47")
back = b"\1" + bytes(range(0x50, 0x60))
show("reply", datagram(2, PEER, text("Buildroot 2026.02"), varint(60000), bytes([0b010]), echo, zigzag(T2), zigzag(T3), back))
state, size, available, active, rank, attempt = FETCHING = (3, 500_000_000, 1_048_576, 7, bytes([0xCC] * 16), 1)
body = b"\1" + NODE + PUBLIC_ID + standing(*FETCHING) + struct.pack(">I", 12_345) + NONCE
said = varint(state) + b"\1" + varint(size) + varint(available) + bytes([active]) + rank + bytes([attempt])
show("announce", datagram(3, NODE, PUBLIC_ID, said, varint(12_345), NONCE, mac(CLAIM, body)[:16]))
