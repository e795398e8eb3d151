import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Accepting } from '../src/accepting';
import type { IEntry } from '../src/cellIndex';
import type { IAttemptRecord } from '../src/tokens';
import { attempt } from './notebooks';

function entry(
  number: number,
  code: string,
  more: Partial<IAttemptRecord> = {}
): IEntry {
  const record = attempt(number, { status: 'succeeded', ...more });
  return { attempt: record, code } as IEntry;
}

const yes = () => Promise.resolve(true);

test('what was asked about is accepted, as it is now', async () => {
  const now = entry(1, 'x = 1');
  const agreed = await new Accepting().agreed(
    [entry(1, 'x = 1')],
    yes,
    () => now
  );
  assert.equal(agreed[0], now);
});

test('no is no', async () => {
  const no = () => Promise.resolve(false);
  const agreed = await new Accepting().agreed([entry(1, 'x')], no, e => e);
  assert.deepEqual(agreed, []);
});

test('what has changed meanwhile is not accepted', async () => {
  for (const now of [
    null,
    entry(1, 'x = 2'),
    entry(2, 'x = 1'),
    entry(1, 'x = 1', { role: 'accepted', status: 'accepted' })
  ]) {
    const asked = [entry(1, 'x = 1')];
    assert.deepEqual(await new Accepting().agreed(asked, yes, () => now), []);
  }
});

test('an attempt is asked about once at a time', async () => {
  const accepting = new Accepting();
  let answer = (yes: boolean): void => assert.ok(yes);
  const slow = () => new Promise<boolean>(resolve => (answer = resolve));
  const never = () => Promise.reject(new Error('asked twice'));
  const [one, two] = [entry(1, 'x'), entry(2, 'y')];
  const first = accepting.agreed([one], slow, e => e);
  assert.deepEqual(await accepting.agreed([one], never, e => e), []);
  assert.deepEqual(await accepting.agreed([one, two], yes, e => e), [two]);
  answer(true);
  assert.deepEqual(await first, [one]);
  await assert.rejects(accepting.agreed([one], never, e => e));
  assert.deepEqual(await accepting.agreed([one], yes, e => e), [one]);
});
