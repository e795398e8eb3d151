import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type Standing, news } from '../src/panel/news';
import { typed } from '../src/panel/slash';
import { sumOf, tokensOf } from '../src/panel/sums';
import { attemptWord } from '../src/panel/words';
import type { ITaskView } from '../src/tokens';

const trans = {
  __: (text: string, ...args: unknown[]) =>
    text.replace(/%(\d)/g, (_, i) => String(args[Number(i) - 1]))
} as unknown as Parameters<typeof news>[2];

const task = (record: object | null) => ({ record }) as unknown as ITaskView;

test('what was typed is a command, a task, or a word that is none', () => {
  assert.deepEqual(typed('/fix the dates'), {
    kind: 'command',
    name: 'fix',
    rest: 'the dates'
  });
  assert.deepEqual(typed('/Help'), { kind: 'command', name: 'help', rest: '' });
  assert.deepEqual(typed('/frobnicate'), {
    kind: 'unknown',
    name: 'frobnicate'
  });
  assert.equal(typed('/data/x.csv has gaps').kind, 'task');
  assert.equal(typed('plain').kind, 'task');
});

test('sums count what is known', () => {
  const tokens = { input: 10, output: 5, cache_read: 1 };
  const known = task({ tokens, cost: 0.5, duration: 2 });
  const unknown = task({ tokens, cost: null, duration: 1 });
  assert.deepEqual(sumOf([known, unknown, task(null)]), {
    tokens: 32,
    cost: 0.5,
    seconds: 3
  });
  assert.equal(sumOf([unknown]).cost, null);
});

test('a record that is not as it should be counts as far as it can be read', () => {
  assert.equal(tokensOf({ input: '7', output: -3, cache_read: 4 }), 4);
  assert.equal(tokensOf(null), 0);
});

test('news are ends, not each token', () => {
  const before: Standing = new Map([
    ['a', 'running'],
    ['a 1', 'writing']
  ]);
  const running: Standing = new Map([
    ['a', 'running'],
    ['a 1', 'running']
  ]);
  const ended: Standing = new Map([
    ['a', 'solved'],
    ['a 1', 'succeeded']
  ]);
  assert.deepEqual(news(before, running, trans), []);
  assert.deepEqual(news(running, ended, trans), [
    'Task solved.',
    'Attempt 1 succeeded.'
  ]);
});

test('a status that is none of ours is shown as text', () => {
  assert.equal(attemptWord('constructor', trans), 'constructor');
  assert.equal(attemptWord('failed', trans), 'failed');
});
