import assert from 'node:assert/strict';
import { test } from 'node:test';

import { owns, publish } from '../src/ownership';
import { Sessions } from '../src/sessions';
import type { ITaskState } from '../src/store';
import { notebook } from './notebooks';

function run(session: string, cell = 'agent'): ITaskState {
  return {
    id: 'task1',
    session,
    cell,
    source: '%%agent\nsum it up',
    replayed: false,
    record: null,
    attempts: new Map()
  };
}

test('the page that ran the task writes its cells, another one does not', () => {
  const made = notebook();
  publish(made, ['mine']);
  assert.equal(owns(made, ['mine'], run('mine')), true);
  assert.equal(owns(made, ['mine'], run('other')), false);
});

test('a task of another notebook is nobody’s here', () => {
  assert.equal(owns(notebook(), ['mine'], run('mine', 'elsewhere')), false);
});

test('a task of nobody present is written by the first of those who share the notebook', () => {
  const made = notebook();
  publish(made, ['mine']);
  const { awareness } = made;
  const peer = (clientID: number, sessions: string[]) =>
    awareness.states.set(clientID, { jupyter_codeagent: { sessions } });
  peer(awareness.clientID + 1, ['other']);
  assert.equal(owns(made, ['mine'], run('server')), true);
  assert.equal(owns(made, ['mine'], run('other')), false);
  peer(awareness.clientID - 1, []);
  assert.equal(owns(made, ['mine'], run('server')), false);
});

test('a tab remembers its sessions of each kernel, and survives what is no memory', () => {
  const kept = new Map<string, string>();
  const storage = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value)
  } as unknown as Storage;
  new Sessions('k1', storage).add('a');
  const again = new Sessions('k1', storage);
  again.add('b');
  again.comm = 'c';
  assert.deepEqual(new Sessions('k1', storage).all, ['a', 'b']);
  assert.equal(new Sessions('k1', storage).comm, 'c');
  assert.deepEqual(new Sessions('k2', storage).all, []);
  kept.set('jupyter-codeagent:k1', '{"sessions": 3');
  assert.deepEqual(new Sessions('k1', storage).all, []);
});
