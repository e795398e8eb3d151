/** The hash by which a cell's code is recognised, as the kernel computes it. */

import { blake2b } from '@noble/hashes/blake2b';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils';

// What Python's str.strip takes away; String.trim differs in the separators and in U+FEFF.
const SPACE =
  '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]';
const AROUND = new RegExp(`^${SPACE}+|${SPACE}+$`, 'g');
const LONE_SURROGATE =
  /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Return blake2b of `code` without surrounding white space: 16 bytes, hexadecimal. */
export function codeHash(code: string): string {
  const text = code.replace(AROUND, '').replace(LONE_SURROGATE, '?');
  return bytesToHex(blake2b(utf8ToBytes(text), { dkLen: 16 }));
}
