import assert from 'node:assert/strict';
import { test } from 'node:test';

import { compared } from '../src/panel/compared';
import { toReport } from '../src/panel/report';

test('lines that stand in both texts are the same, in their order', () => {
  const signs = (a: string, b: string) => {
    const found = compared(a, b);
    return [found.expected, found.found].map(lines =>
      lines.map(({ same, text }) => (same ? text : `!${text}`)).join(' ')
    );
  };
  assert.deepEqual(signs('a\nb\nc', 'a\nx\nc'), ['a !b c', 'a !x c']);
  assert.deepEqual(signs('1\n2\nb\n3', '0\n2\n4\nb'), [
    '!1 2 b !3',
    '!0 2 !4 b'
  ]);
  assert.deepEqual(signs('', 'a'), ['!', '!a']);
  assert.deepEqual(signs('a', 'a'), ['a', 'a']);
  const long = Array.from({ length: 5000 }, (_, i) => `${i}`).join('\n');
  assert.ok(compared(`x\n${long}\ny`, `z\n${long}\nw`).found[0].text === 'z');
});

test('a report is read with distrust', () => {
  const none = toReport({ ok: 'yes', cells: 7, inputs: [1], risks: [{}, ''] });
  assert.deepEqual(none, {
    ok: false,
    differences: [],
    executed: 0,
    duration: 0,
    tier: '',
    inputs: [{ name: '', state: '' }],
    risks: [],
    notes: [],
    stamp: null
  });
  const full = toReport({
    ok: true,
    cells: [{ cell: 2, kind: 'text', detail: 'd', expected: 'x'.repeat(9000) }],
    inputs: [
      { name: 'a.csv', state: 'same' },
      { name: 'b.csv', state: 'changed' }
    ],
    risks: ['It reads the clock.', { detail: 'Or not.' }],
    stamp: { hash: 'h' }
  });
  assert.equal(full.differences[0].expected.length, 4000);
  assert.deepEqual(full.inputs, [{ name: 'b.csv', state: 'changed' }]);
  assert.deepEqual(full.risks, ['It reads the clock.', 'Or not.']);
  assert.deepEqual(full.stamp, { hash: 'h' });
});
