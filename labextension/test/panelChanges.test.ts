import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Changes, lineCounts } from '../src/panel/changes';
import { bytes } from '../src/panel/text';
import type { INotebookWork, IReply } from '../src/tokens';

const FILE = {
  path: 'a.csv',
  kind: 'changed',
  size: 12,
  special: '',
  runs_by_itself: '',
  conflict: '',
  diff: '@@ -1 +1 @@\n-1\n+2\n'
};
const FILES = [
  FILE,
  { ...FILE, path: 'conftest.py', runs_by_itself: 'pytest runs it.' },
  { ...FILE, path: 'b.csv', conflict: 'It was changed meanwhile.' },
  { ...FILE, path: 'link', kind: 'special', special: 'symbolic link' }
];

/** A kernel with answers; what was asked of it stands in `asked`. */
function kernel(answers: Record<string, Partial<IReply>>) {
  const asked: [string, unknown][] = [];
  const request = (type: string, payload?: unknown) => {
    asked.push([type, payload]);
    const answer = answers[type];
    return answer
      ? Promise.resolve({ ok: true, text: '', ...answer })
      : Promise.reject(new Error('no answer'));
  };
  return { asked, work: { request } as unknown as INotebookWork };
}

test('what runs by itself, conflicts, or is no file is applied only where it can and was selected', async () => {
  const { work, asked } = kernel({
    changes: { files: FILES, note: '' },
    apply: { applied: ['a.csv'], refused: { 'x.csv': 'Gone.' }, text: 'Done.' },
    unapply: { applied: ['a.csv'], refused: {}, text: 'Put back.' }
  });
  const changes = new Changes();
  await changes.refresh(work);
  assert.deepEqual(changes.selected, ['a.csv']);
  const [, apart, conflict, link] = changes.files;
  changes.select(apart, true);
  changes.select(conflict, true);
  changes.select(link, true);
  assert.deepEqual(changes.selected, ['a.csv', 'conftest.py']);
  assert.equal(changes.undoable, false);
  await changes.apply(work);
  assert.deepEqual(asked[1], ['apply', { paths: ['a.csv', 'conftest.py'] }]);
  assert.deepEqual(changes.applied, {
    text: 'Done.',
    refused: [{ path: 'x.csv', reason: 'Gone.' }]
  });
  assert.equal(changes.undoable, true);
  assert.deepEqual(changes.selected, ['a.csv'], 'asked for each time');
  await changes.undo(work);
  assert.equal(changes.undoable, false);
  assert.equal(changes.applied?.text, 'Put back.');
});

test('an answer that is none leaves what was known, and one that is odd is read with distrust', async () => {
  const changes = new Changes();
  await changes.refresh(kernel({ changes: { files: FILES } }).work);
  await changes.refresh(kernel({}).work);
  changes.show(true);
  const busy = { ok: false, text: 'Task t1 is running.' };
  await changes.refresh(kernel({ changes: busy }).work);
  assert.equal(changes.files.length, 4);
  assert.equal(changes.note, 'Task t1 is running.');
  const odd = [
    null,
    7,
    { path: '' },
    { path: 'x', kind: 'odd' },
    { path: 3, kind: 'added' },
    { path: 'p'.repeat(1e5), kind: 'added', diff: 'd'.repeat(1e6), size: 'no' }
  ];
  await changes.refresh(kernel({ changes: { files: odd, note: 5 } }).work);
  assert.equal(changes.files.length, 1);
  assert.ok(changes.files[0].path.length < 5000);
  assert.ok(changes.files[0].diff.length < 300_000);
  assert.equal(changes.files[0].size, 0);
});

test('an answer for another notebook is passed over', async () => {
  const changes = new Changes();
  const { work } = kernel({ changes: { files: FILES } });
  const asked = changes.refresh(work);
  changes.clear();
  await asked;
  assert.deepEqual(changes.files, []);
});

test('an apply that fails says why and can be tried again', async () => {
  const changes = new Changes();
  await changes.refresh(kernel({ changes: { files: FILES } }).work);
  const refusing = kernel({
    apply: { ok: false, text: 'Task t1 is running.' }
  });
  await assert.rejects(changes.apply(refusing.work), /Task t1 is running/);
  assert.equal(changes.busy, false);
  assert.equal(changes.undoable, false);
});

test('lines are counted without the names of files, and sizes are short', () => {
  const diff = '--- a.csv\n+++ a.csv\n@@ -1,2 +1,2 @@\n x\n--- 1\n+2\n+++3\n';
  assert.deepEqual(lineCounts(diff), { added: 2, removed: 1 });
  assert.deepEqual(lineCounts(''), { added: 0, removed: 0 });
  assert.deepEqual([0, 999, 1000, 15_360, 999_600, 5e15].map(bytes), [
    '0 B',
    '999 B',
    '1.0 kB',
    '15 kB',
    '1.0 MB',
    '5000 TB'
  ]);
});
