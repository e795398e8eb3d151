import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  bounded,
  dollars,
  duration,
  firstLines,
  lastLines,
  middleCut,
  oneLine,
  visible,
  withoutEscapes
} from '../src/panel/text';

test('characters that turn or hide text are written out', () => {
  assert.equal(visible('a\u202eb\u2066c'), 'a⟨U+202E⟩b⟨U+2066⟩c');
  assert.equal(visible('x\u200by\ufeff\u0000'), 'x⟨U+200B⟩y⟨U+FEFF⟩⟨U+0000⟩');
  assert.equal(visible('\u{e0041}'), '⟨U+E0041⟩');
});

test('lines, tabs and joined emoji stay', () => {
  assert.equal(visible('a\n\tb\r\nc'), 'a\n\tb\nc');
  assert.equal(visible('👩\u200d🔬'), '👩\u200d🔬');
  assert.equal(visible('a\u200db'), 'a⟨U+200D⟩b');
});

test('terminal escapes go', () => {
  assert.equal(withoutEscapes('\u001b[31mred\u001b[0m'), 'red');
  assert.equal(withoutEscapes('\u001b]8;;http://x\u0007link'), 'link');
});

test('a bound never splits a character', () => {
  assert.deepEqual(bounded('ab😀', 3), { text: 'ab', left: 2 });
  assert.deepEqual(bounded('abc', 3), { text: 'abc', left: 0 });
});

test('the middle of long text is left out, and how much', () => {
  assert.equal(middleCut('abcdefghij', 4), 'ab\n[6 characters left out]\nij');
  assert.equal(middleCut('abcd', 4), 'abcd');
});

test('one line is one line, short, with nothing hidden', () => {
  assert.equal(oneLine('  a\n\n b\tc '), 'a b c');
  assert.equal(oneLine('x'.repeat(1e7), 10), 'xxxxxxxxx…');
  assert.equal(oneLine('a\u202eb', 40), 'a⟨U+202E⟩b');
});

test('the first lines, and how many there are', () => {
  assert.deepEqual(firstLines('a\nb\nc', 2), { text: 'a\nb', lines: 3 });
  assert.deepEqual(firstLines('a\nb', 2), { text: 'a\nb', lines: 2 });
  assert.deepEqual(firstLines('', 2), { text: '', lines: 1 });
});

test('the last lines, and how many there are', () => {
  assert.deepEqual(lastLines('a\nb\nc', 2), { text: 'b\nc', lines: 3 });
  assert.deepEqual(lastLines('a', 2), { text: 'a', lines: 1 });
});

test('times and dollars as people read them', () => {
  assert.equal(duration(0.42), '0.4 s');
  assert.equal(duration(9.97), '10 s');
  assert.equal(duration(200), '3 min 20 s');
  assert.equal(duration(NaN), '0.0 s');
  assert.equal(dollars(0), '$0.00');
  assert.equal(dollars(0.0184), '$0.0184');
  assert.equal(dollars(0.00001), '< $0.0001');
  assert.equal(dollars(12.345), '$12.35');
});
