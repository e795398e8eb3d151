import assert from 'node:assert/strict';
import { test } from 'node:test';

import { applied, complete, type IOffer } from '../src/panel/completion';

const offer = (kind: IOffer['kind'], label: string, detail = ''): IOffer => ({
  kind,
  value: label,
  label,
  detail,
  insert: kind === 'command' ? `/${label}` : label
});
const commands = ['fix', 'explain', 'help'].map(word => offer('command', word));
const things = [
  offer('variable', 'df', 'DataFrame'),
  offer('file', 'data/sales.csv'),
  offer('file', 'sales.csv'),
  offer('cell', 'cell [3]', 'sales = 3')
];
const at = (text: string, caret = text.length) =>
  complete(text, caret, commands, () => things);
const labels = (text: string) => at(text)?.offers.map(({ label }) => label);

test('a slash at the begin offers commands', () => {
  assert.deepEqual(labels('/'), ['fix', 'explain', 'help']);
  assert.deepEqual(labels('/ex'), ['explain']);
  assert.equal(at('see /ex'), null);
  assert.equal(at('/fix it'), null);
});

test('an at sign after a space offers things, the closest first', () => {
  assert.deepEqual(labels('use @sal'), [
    'sales.csv',
    'data/sales.csv',
    'cell [3]'
  ]);
  assert.deepEqual(labels('@DF'), ['df']);
  assert.equal(at('me@sal'), null);
  assert.equal(at('@nothing'), null);
});

test('things are only read when they are asked for', () => {
  let asked = false;
  complete('plain', 5, commands, () => {
    asked = true;
    return [];
  });
  assert.equal(asked, false);
});

test('of very many some are offered, and the rest is counted', () => {
  const many = Array.from({ length: 500 }, (_, i) => offer('file', `f${i}`));
  const found = complete('@f', 2, [], () => many);
  assert.equal(found!.offers.length + found!.more, 500);
  assert.ok(found!.offers.length < 50);
});

test('the offer takes the place of the letters', () => {
  const text = 'use @sal now';
  const start = at(text, 8)!.start;
  assert.deepEqual(applied(text, 8, start, things[2]), {
    text: 'use sales.csv now',
    caret: 13
  });
  assert.deepEqual(applied('/f', 2, 0, commands[0]), {
    text: '/fix ',
    caret: 5
  });
});
