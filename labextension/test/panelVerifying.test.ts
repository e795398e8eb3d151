import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Verifying } from '../src/panel/verifying';
import type { Server } from '../src/server';
import { stampWatch } from '../src/stamp/watch';
import { OpenNotebook, trans } from './models';
import { notebook } from './notebooks';

/** A server that answers when the test says so. */
class Slow {
  readonly stopped: string[] = [];
  readonly asked: [string, boolean][] = [];
  /** What a verification ends with; it may look at the notebook. */
  report: () => Promise<object | undefined> = () => Promise.resolve(undefined);
  private readonly _begun: ((job: string) => void)[] = [];

  get server(): Server {
    return this as unknown as Server;
  }

  verify(path: string, stamp: boolean): Promise<string> {
    this.asked.push([path, stamp]);
    return new Promise(resolve => this._begun.push(resolve));
  }

  name(job: string): void {
    this._begun.shift()?.(job);
  }

  async verification(job: string): Promise<object> {
    const state = this.stopped.includes(job) ? 'stopped' : 'done';
    const report = await this.report();
    return { state, done: 1, total: 1, text: job, report };
  }

  stopVerification(job: string): Promise<void> {
    this.stopped.push(job);
    return Promise.resolve();
  }
}

/** Verify a notebook that is open; `meanwhile` happens while the server works. */
async function verified(
  open: OpenNotebook,
  meanwhile: () => void = () => undefined
): Promise<{ unstamped: string; asked: [string, boolean][] }> {
  const slow = new Slow();
  slow.report = async () => {
    const hash = await stampWatch(open.model).hash();
    meanwhile();
    return { ok: true, stamp: { ok: true, hash, executed: 1 } };
  };
  const verifying = new Verifying(slow.server, trans);
  const ended = verifying.verify('n.ipynb', open.context);
  await new Promise(resolve => setTimeout(resolve));
  slow.name('one');
  await ended;
  return { unstamped: verifying.current!.unstamped, asked: slow.asked };
}

test('a verification that is stopped before the server has named it is stopped then', async () => {
  const slow = new Slow();
  const verifying = new Verifying(slow.server, trans);
  const verified = verifying.verify('a.ipynb', null);
  assert.equal(verifying.current?.state, 'running');
  await verifying.stop();
  assert.deepEqual(slow.stopped, []);
  slow.name('one');
  await verified;
  assert.deepEqual(slow.stopped, ['one']);
  assert.equal(verifying.current?.state, 'stopped');
});

test('a verification that was put away, or followed by another, is stopped and shown no more', async () => {
  const slow = new Slow();
  const verifying = new Verifying(slow.server, trans);
  const first = verifying.verify('a.ipynb', null);
  const second = verifying.verify('b.ipynb', null);
  slow.name('one');
  slow.name('two');
  await Promise.all([first, second]);
  assert.deepEqual(slow.stopped, ['one']);
  assert.equal(verifying.current?.path, 'b.ipynb');
  const third = verifying.verify('c.ipynb', null);
  verifying.close();
  slow.name('three');
  await third;
  assert.deepEqual(slow.stopped, ['one', 'three']);
  assert.equal(verifying.current, null);
});

test('a notebook that is open is saved, verified without the server stamping it, stamped here, and saved', async () => {
  const open = new OpenNotebook(notebook());
  open.setMetadata('jupyter_codeagent', { version: 1, model: 'm' } as never);
  open.dirty = true;
  const { unstamped, asked } = await verified(open);
  assert.equal(unstamped, '');
  assert.deepEqual(asked, [['n.ipynb', false]]);
  assert.equal(open.saves, 2);
  assert.equal(open.sharedModel.canUndo(), false);
  const hash = await stampWatch(open.model).hash();
  assert.deepEqual(open.getMetadata('jupyter_codeagent'), {
    version: 1,
    model: 'm',
    verified: { ok: true, hash, executed: 1 }
  });
});

test('a notebook that is edited while it is verified is not stamped, and that is said', async () => {
  const open = new OpenNotebook(notebook());
  const { unstamped } = await verified(open, () =>
    open.sharedModel.cells[1].setSource('x = 2')
  );
  assert.match(unstamped, /was edited while it was verified/);
  assert.equal(open.getMetadata('jupyter_codeagent'), undefined);
  assert.equal(open.saves, 0);
});

test('a notebook that is read-only is neither saved nor stamped', async () => {
  const open = new OpenNotebook(notebook());
  open.dirty = open.readOnly = true;
  const { unstamped } = await verified(open);
  assert.match(unstamped, /read-only/);
  assert.equal(open.saves, 0);
});

test('a file that is not open is stamped by the server', async () => {
  const slow = new Slow();
  const ended = new Verifying(slow.server, trans).verify('a.ipynb', null);
  slow.name('one');
  await ended;
  assert.deepEqual(slow.asked, [['a.ipynb', true]]);
});
