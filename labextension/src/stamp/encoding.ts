/** Values as bytes, the same in every language; stamp.py defines them. */

const [NULL, TRUE, FALSE, NUMBER, TEXT, LIST, OBJECT] = [...'ntfdslo'].map(
  letter => letter.charCodeAt(0)
);

/** Return the encoding of `value`, which may be nested as deep as it likes. */
export function encoded(value: unknown): Uint8Array {
  const bytes = new Bytes();
  const left: unknown[] = [value];
  while (left.length) {
    const next = left.pop();
    if (typeof next === 'string') {
      bytes.text(next);
    } else if (typeof next === 'number') {
      bytes.number(next);
    } else if (typeof next === 'boolean') {
      bytes.letter(next ? TRUE : FALSE);
    } else if (Array.isArray(next)) {
      bytes.letter(LIST, next.length);
      for (let i = next.length - 1; i >= 0; i--) {
        left.push(next[i]);
      }
    } else if (typeof next === 'object' && next !== null) {
      const members = next as Record<string, unknown>;
      const names = Object.keys(members).sort(); // by UTF-16 code units
      bytes.letter(OBJECT, names.length);
      for (const name of names.reverse()) {
        left.push(members[name], name);
      }
    } else {
      bytes.letter(NULL);
    }
  }
  return bytes.taken;
}

/** Bytes that grow. */
class Bytes {
  get taken(): Uint8Array {
    return this._bytes.subarray(0, this._length);
  }

  /** Add a letter, and how many items follow it. */
  letter(letter: number, count?: number): void {
    this._need(5);
    this._bytes[this._length++] = letter;
    if (count !== undefined) {
      this._view.setUint32(this._length, count);
      this._length += 4;
    }
  }

  text(text: string): void {
    this.letter(TEXT, text.length);
    this._need(2 * text.length);
    const bytes = this._bytes;
    let at = this._length;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      bytes[at++] = unit & 0xff;
      bytes[at++] = unit >> 8;
    }
    this._length = at;
  }

  number(value: number): void {
    this.letter(NUMBER);
    this._need(8);
    this._view.setFloat64(this._length, value + 0); // -0 is 0
    this._length += 8;
  }

  private _need(more: number): void {
    if (this._length + more > this._bytes.length) {
      const larger = new Uint8Array(2 * (this._length + more));
      larger.set(this.taken);
      this._bytes = larger;
      this._view = new DataView(larger.buffer);
    }
  }

  private _bytes = new Uint8Array(1024);
  private _view = new DataView(this._bytes.buffer);
  private _length = 0;
}
