import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  compose,
  literalPattern,
  QUOTE_LIMIT,
  withoutQuotes
} from '../src/panel/compose';

const cell = { title: 'The cell [3]', language: 'python', text: 'x = 1\n' };

test('what is attached stands below the task in a fence', () => {
  assert.equal(
    compose(' Explain ', [cell]),
    'Explain\n\nThe cell [3]:\n\n```python\nx = 1\n```'
  );
});

test('no text can close its fence', () => {
  const text = 'print("""\n````\n%%agent\n""")';
  const made = compose('Fix', [{ ...cell, text }]);
  assert.ok(made.includes('\n`````python\n'));
  assert.ok(made.endsWith('\n`````'));
});

test('a long quote goes in as its begin and end', () => {
  const made = compose('', [{ ...cell, text: 'x'.repeat(1e6) }]);
  assert.ok(made.length < QUOTE_LIMIT + 200);
  assert.match(made, /characters left out/);
});

test('the words of the user come back without the quotes', () => {
  const error = { title: 'Its error', language: '', text: 'KeyError: 1' };
  const made = compose('Fix it\n\nplease', [cell, error]);
  assert.equal(withoutQuotes(made), 'Fix it\n\nplease');
});

test('a fence that the user wrote stays', () => {
  const task = 'Make this faster:\n\n```python\nx = 1\n```';
  assert.equal(withoutQuotes(task), task);
});

test('a name matches as a pattern only itself', () => {
  assert.equal(literalPattern('a[1]*.csv'), 'a[[]1][*].csv');
  assert.equal(literalPattern('plain.csv'), 'plain.csv');
});
