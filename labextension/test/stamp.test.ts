import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  moment,
  stampDetails,
  stampIn,
  standingOf,
  stampWords
} from '../src/stamp/stamp';
import { StampWatch } from '../src/stamp/watch';
import { OpenNotebook, trans } from './models';
import { notebook } from './notebooks';

const WHEN = '2026-11-22T14:03:00+00:00';

function stamp(more: object = {}) {
  const verified = { ok: true, hash: 'h', when: WHEN, executed: 5, ...more };
  return stampIn({ version: 1, verified })!;
}

/** Wait until the watch says this of its notebook. */
async function becomes(watch: StampWatch, standing: string | null) {
  while (watch.standing !== standing) {
    await new Promise<void>(resolve => {
      const once = () => {
        watch.changed.disconnect(once);
        resolve();
      };
      watch.changed.connect(once);
    });
  }
}

test('a stamp is told in a few words, by what it is worth now', () => {
  const words = (more: object, hash = 'h') => {
    const made = stamp(more);
    return stampWords(made, standingOf(made, hash), trans);
  };
  const when = moment(new Date(WHEN));
  assert.match(when, /^2026-11-2\d \d\d:\d\d$/);
  assert.equal(words({}), `Verified ${when}, 5 cells`);
  assert.equal(words({ executed: 1 }), `Verified ${when}, 1 cell`);
  assert.equal(words({ when: 'soon' }), 'Verified, 5 cells');
  assert.equal(words({}, 'other'), 'Edited since it was verified');
  const reasons = ['cell 2: it differs.', 'more'];
  assert.equal(
    words({ ok: false, reasons }),
    'Not reproducible: cell 2: it differs.'
  );
  assert.equal(words({ ok: false }), 'Not reproducible');
});

test('what is told at length says whose word it is', () => {
  const by = { python: '3.11.2', jupyter_codeagent: '0.1.0' };
  const told = stampDetails(stamp({ by, tier: 'A' }), 'edited', trans);
  assert.match(told, /no longer says anything/);
  assert.match(told, /Python 3\.11\.2, jupyter_codeagent 0\.1\.0, tier A/);
  assert.match(told, /what the file itself says/);
});

test('metadata that is no stamp is none, and hostile ones are bounded and visible', () => {
  for (const value of [null, 'x', [], {}, { verified: 'yes' }]) {
    assert.equal(stampIn(value), null);
  }
  assert.equal(stampIn({ verified: { hash: 7, ok: true } }), null);
  const found = stamp({
    ok: 'true',
    when: {},
    executed: 'many',
    reasons: Array(1000).fill('\u202e' + 'x'.repeat(10_000)),
    by: { python: 'y'.repeat(10_000) }
  });
  assert.equal(found.ok, false);
  assert.equal(found.when, null);
  assert.equal(found.executed, 0);
  assert.ok(found.reasons.length <= 20 && found.reasons[0].length <= 300);
  assert.match(found.reasons[0], /^⟨U\+202E⟩/);
  assert.ok(found.by[0].length < 60);
});

test('an edit makes the stamp worthless, undoing it does not, and a new stamp counts at once', async () => {
  const open = new OpenNotebook(notebook());
  const watch = new StampWatch(open.model);
  assert.equal(watch.standing, null);
  const verified = { ok: true, hash: await watch.hash(), executed: 1 };
  open.setMetadata('jupyter_codeagent', { version: 1, verified } as never);
  await becomes(watch, 'verified');
  const [cell] = open.sharedModel.cells;
  const source = cell.getSource();
  cell.setSource('another');
  await becomes(watch, 'edited');
  cell.setSource(source);
  await becomes(watch, 'verified');
  open.sharedModel.deleteCell(1);
  await becomes(watch, 'edited');
  open.sharedModel.deleteMetadata('jupyter_codeagent');
  await becomes(watch, null);
});
