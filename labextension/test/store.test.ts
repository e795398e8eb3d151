import assert from 'node:assert/strict';
import { test } from 'node:test';

import { TaskStore } from '../src/store';
import { attempt, task } from './notebooks';

function message(more: object) {
  const base = { type: 'attempt', task: 'task1', session: 's', cell: 'agent' };
  return { ...base, record: attempt(1), phase: 'writing', limit: 5, ...more };
}

test('deltas add up', () => {
  const store = new TaskStore();
  store.take(message({ code: { at: 0, text: 'a = ' } }));
  store.take(message({ code: { at: 4, text: '1' }, phase: 'running' }));
  const items = [{ output_type: 'stream', name: 'stdout', text: 'ab' }];
  store.take(message({ phase: 'running', outputs: { at: 0, items } }));
  const tail = { at: 1, text: 'c' };
  const change = store.take(
    message({ phase: 'done', outputs: { at: 1, items: [], tail } })
  );
  assert.equal(change?.attempt?.code, 'a = 1');
  assert.equal(change?.attempt?.outputs[0].text, 'ac');
  assert.equal(change?.attempt?.whole, true);
});

test('an attempt that is seen from its middle is not whole until all is told', () => {
  const store = new TaskStore();
  const middle = store.take(message({ code: { at: 40, text: '1' } }));
  assert.equal(middle?.attempt?.whole, false);
  const all = store.take(
    message({ code: { at: 0, text: 'x' }, outputs: { at: 0, items: [] } })
  );
  assert.equal(all?.attempt?.whole, true);
});

test('a tail without a stream does not fit', () => {
  const store = new TaskStore();
  store.take(message({ code: { at: 0, text: '' } }));
  const tail = { at: 0, text: 'x' };
  const outputs = { at: 0, items: [{ output_type: 'error' }], tail };
  assert.equal(store.take(message({ outputs }))?.attempt?.whole, false);
});

test('a task keeps its cell where a later message does not name it', () => {
  const store = new TaskStore();
  store.take({ ...message({ type: 'task', record: task() }), source: 'x' });
  const change = store.take(
    message({ type: 'task', record: task(), cell: '' })
  );
  assert.equal(change?.task.cell, 'agent');
  assert.equal(change?.task.source, 'x');
});

test('what is no message of ours is passed over', () => {
  const store = new TaskStore();
  for (const record of [null, 'x', {}, { ...task(), status: 'great' }]) {
    assert.equal(store.take(message({ type: 'task', record })), null);
    assert.equal(store.take(message({ record })), null);
  }
  assert.equal(store.take({ type: 'hello' }), null);
});
