import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  attemptIn,
  chooseAttempt,
  codeCell,
  insertAttempt,
  writeAttempt
} from '../src/attempts';
import {
  agree,
  counted,
  grouped,
  isPassedOver,
  mayChoose,
  waits
} from '../src/candidates';
import { attemptRecord, taskRecord } from '../src/records';
import type { IAttemptRecord, IAttemptView } from '../src/tokens';
import { attempt, notebook, task } from './notebooks';

/** Three candidates of a round, the second of which was chosen. */
function round(more: Partial<IAttemptRecord> = {}): IAttemptRecord[] {
  return [1, 2, 3].map(number =>
    attempt(number, {
      status: 'succeeded',
      round: 1,
      candidate: number,
      of: 3,
      chosen: number === 2,
      rolled_back: number !== 2,
      reason: number === 2 ? 'Candidate 2 of 3 was chosen.' : 'Not chosen.',
      ...more
    })
  );
}

const view = (record: IAttemptRecord): IAttemptView => ({
  record,
  phase: record.status === 'running' ? 'running' : 'done',
  code: '',
  edited: false,
  cellId: String(record.attempt)
});
const numbers = (views: readonly IAttemptView[]) =>
  views.map(({ record }) => record.attempt);

test('what is said of candidates is read with distrust', () => {
  const [, chosen] = round();
  assert.deepEqual(attemptRecord(chosen), chosen);
  for (const odd of [
    { of: 1 },
    { of: 9 },
    { of: '3' },
    { of: null },
    { candidate: 0 },
    { candidate: 4 },
    { candidate: 1.5 },
    { round: 0 },
    { round: 'x' }
  ]) {
    const read = attemptRecord({ ...chosen, ...odd });
    assert.equal(read?.of, undefined, JSON.stringify(odd));
    assert.equal(read?.chosen, undefined);
  }
  const long = attemptRecord({ ...chosen, reason: 'x'.repeat(1e6) });
  assert.ok(long?.reason && long.reason.length < 2000);
  assert.equal(attemptRecord({ ...chosen, chosen: 'yes' })?.chosen, false);
  assert.equal(taskRecord(task({ candidates: 3 }))?.candidates, 3);
  assert.equal(taskRecord(task({ candidates: 99 }))?.candidates, undefined);
});

test('of a round one counts and waits, and candidates stand together', () => {
  const alone = attempt(4, { status: 'failed' });
  const views = [...round(), alone].map(view);
  assert.deepEqual(grouped(views).map(numbers), [[1, 2, 3], [4]]);
  assert.deepEqual(numbers(counted(views)), [2, 4]);
  assert.deepEqual(numbers(views.filter(waits)), [2, 4]);
  assert.deepEqual(numbers(views.filter(mayChoose)), [1, 3]);
});

test('while nothing is decided a round counts as one, and nothing waits', () => {
  const views = round({ chosen: false, reason: '' }).map(view);
  assert.deepEqual(numbers(counted(views)), [1]);
  assert.deepEqual(views.filter(waits), []);
  assert.deepEqual(views.filter(mayChoose), []);
  assert.ok(!views.some(({ record }) => isPassedOver(record)));
});

test('what was accepted counts, also where it was not chosen', () => {
  const [first, ...others] = round({ chosen: false });
  const taken = { ...first, role: 'accepted', status: 'accepted' } as const;
  assert.deepEqual(numbers(counted([taken, ...others].map(view))), [1]);
});

test('two rounds side by side stay apart', () => {
  const second = round({ round: 2 }).map(record => ({
    ...record,
    attempt: record.attempt + 3
  }));
  const groups = grouped([...round(), ...second].map(view));
  assert.deepEqual(groups.map(numbers), [
    [1, 2, 3],
    [4, 5, 6]
  ]);
});

test('choosing is one step of undo and redo, also where the kernel says the same in other words', () => {
  const made = notebook();
  const cells = round().map(record => {
    const cell = insertAttempt(made, 'agent', record)!;
    writeAttempt(cell, record);
    return cell;
  });
  made.undoManager.clear();
  const chosen = () =>
    made.cells.flatMap(cell => {
      const record = attemptIn(cell);
      return record?.chosen ? record.attempt : [];
    });
  const after = round().map((record, i) => ({
    ...record,
    chosen: i === 2,
    rolled_back: i !== 2,
    reason: 'Chosen by the user.'
  }));
  chooseAttempt(made, new Map(cells.map((cell, i) => [cell, after[i]])));
  assert.deepEqual(chosen(), [3]);
  for (const cell of made.cells) {
    const now = attemptIn(cell);
    const shared = codeCell(cell);
    if (now && shared && !agree(now, { ...now, reason: 'Other words.' })) {
      writeAttempt(shared, { ...now, reason: 'Other words.' });
    }
  }
  made.undo();
  assert.deepEqual(chosen(), [2]);
  made.redo();
  assert.deepEqual(chosen(), [3]);
});

test('records agree where only the words of the reason differ', () => {
  const [, chosen] = round();
  assert.ok(agree(chosen, { ...chosen, reason: 'Other words.' }));
  assert.ok(!agree(chosen, { ...chosen, reason: '' }));
  assert.ok(!agree(chosen, { ...chosen, chosen: false }));
});
