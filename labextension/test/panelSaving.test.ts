import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Saving } from '../src/panel/saving';
import type { Server } from '../src/server';

/** A server that answers when the test says so. */
class Slow {
  readonly stopped: string[] = [];
  private readonly _begun: ((job: string) => void)[] = [];

  get server(): Server {
    return this as unknown as Server;
  }

  verify(): Promise<string> {
    return new Promise(resolve => this._begun.push(resolve));
  }

  name(job: string): void {
    this._begun.shift()?.(job);
  }

  verification(job: string): Promise<object> {
    const state = this.stopped.includes(job) ? 'stopped' : 'done';
    return Promise.resolve({ state, done: 1, total: 1, text: job });
  }

  stopVerification(job: string): Promise<void> {
    this.stopped.push(job);
    return Promise.resolve();
  }
}

test('a verification that is stopped before the server has named it is stopped then', async () => {
  const slow = new Slow();
  const saving = new Saving(slow.server);
  const verified = saving.verify('a.ipynb');
  assert.equal(saving.current?.verification?.state, 'running');
  await saving.stop();
  assert.deepEqual(slow.stopped, []);
  slow.name('one');
  await verified;
  assert.deepEqual(slow.stopped, ['one']);
  assert.equal(saving.current?.verification?.state, 'stopped');
});

test('a verification that was put away, or followed by another, is stopped and shown no more', async () => {
  const slow = new Slow();
  const saving = new Saving(slow.server);
  const first = saving.verify('a.ipynb');
  const second = saving.verify('b.ipynb');
  slow.name('one');
  slow.name('two');
  await Promise.all([first, second]);
  assert.deepEqual(slow.stopped, ['one']);
  assert.equal(saving.current?.path, 'b.ipynb');
  const third = saving.verify('c.ipynb');
  saving.close();
  slow.name('three');
  await third;
  assert.deepEqual(slow.stopped, ['one', 'three']);
  assert.equal(saving.current, null);
});
