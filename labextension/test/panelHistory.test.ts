import assert from 'node:assert/strict';
import { test } from 'node:test';

import { TaskHistory } from '../src/panel/history';

test('back to the oldest, and forward to what was written', () => {
  const history = new TaskHistory();
  const tasks = ['one', 'two', 'two', ''];
  assert.equal(history.back(tasks, 'dra'), 'two');
  assert.equal(history.back(tasks, 'two'), 'one');
  assert.equal(history.back(tasks, 'one'), null);
  assert.equal(history.forward(), 'two');
  assert.equal(history.forward(), 'dra');
  assert.equal(history.forward(), null);
});

test('without tasks there is nowhere to go', () => {
  const history = new TaskHistory();
  assert.equal(history.back([], 'x'), null);
  assert.equal(history.forward(), 'x');
});

test('writing ends the walk', () => {
  const history = new TaskHistory();
  history.back(['one'], '');
  history.leave();
  assert.equal(history.forward(), null);
  assert.equal(history.back(['one'], 'new'), 'one');
  assert.equal(history.forward(), 'new');
});
