import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { ISharedCodeCell } from '@jupyter/ydoc';

import {
  acceptAttempt,
  attemptIn,
  codeOf,
  deleteCells,
  ensureFirstLine,
  findAgentCell,
  findAttempt,
  insertAttempt,
  isCollapsed,
  markStopped,
  placeOfWork,
  setCollapsed,
  taskIn,
  taskText,
  writeAttempt,
  writeCode,
  writeEnd,
  writeOutputs,
  writeTask
} from '../src/attempts';
import { codeHash } from '../src/hash';
import { attempt, notebook, sources, task } from './notebooks';

function inserted(made = notebook()): ISharedCodeCell {
  const cell = insertAttempt(made, 'agent', attempt(1));
  assert.ok(cell);
  return cell;
}

function stdout(text: string) {
  return { output_type: 'stream', name: 'stdout', text } as const;
}

test('the hash is the one that Python computes', () => {
  assert.equal(codeHash('\n x = 1 \n'), codeHash('x = 1'));
  assert.equal(codeHash('x = 1'), 'fa989ca13eade15d3b578c698ca058b9');
});

test('attempts stand after the agent cell in their order', () => {
  const made = notebook();
  for (const number of [1, 3, 2]) {
    insertAttempt(made, 'agent', attempt(number));
  }
  const lines = [1, 2, 3].map(number => `%%attempt task1.${number}\n`);
  assert.deepEqual(sources(made), ['%%agent\nsum it up', ...lines, 'x = 1']);
});

test('an attempt is inserted once, and only below its agent cell', () => {
  const made = notebook();
  inserted(made);
  assert.equal(insertAttempt(made, 'agent', attempt(1)), null);
  assert.equal(insertAttempt(made, 'elsewhere', attempt(2)), null);
  assert.equal(made.cells.length, 3);
});

test('an inserted attempt runs nowhere by accident and is not trusted', () => {
  const cell = inserted();
  assert.deepEqual(cell.getMetadata('tags'), ['skip-execution']);
  assert.equal(cell.getMetadata('trusted'), false);
});

for (const documentWide of [false, true]) {
  test(`undo takes one attempt at a time (document-wide: ${documentWide})`, () => {
    const made = notebook(documentWide);
    for (const number of [1, 2]) {
      const cell = insertAttempt(made, 'agent', attempt(number));
      assert.ok(cell);
      writeCode(cell, attempt(number), 'print(1)');
      writeOutputs(cell, [], [stdout('1\n')]);
      writeAttempt(cell, attempt(number, { status: 'succeeded' }));
    }
    made.undo();
    assert.equal(made.cells.length, 3);
    made.redo();
    const again = findAttempt(made, 'task1', 2);
    assert.equal(again?.getSource(), '%%attempt task1.2\nprint(1)');
    assert.deepEqual(again?.getOutputs(), [stdout('1\n')]);
    assert.equal(again && attemptIn(again)?.status, 'succeeded');
    made.undo();
    made.undo();
    assert.deepEqual(sources(made), ['%%agent\nsum it up', 'x = 1']);
  });
}

test('streamed code changes only what differs', () => {
  const cell = inserted();
  const deltas: unknown[] = [];
  cell.changed.connect((_, change) => deltas.push(change.sourceChange));
  writeCode(cell, attempt(1), 'a = 1');
  writeCode(cell, attempt(1), 'a = 1\nb = 2');
  writeCode(cell, attempt(1), 'a = 1\nb = 2');
  assert.deepEqual(deltas, [
    [{ retain: 18 }, { insert: 'a = 1' }],
    [{ retain: 23 }, { insert: '\nb = 2' }]
  ]);
});

test('streamed code never splits a character', () => {
  const cell = inserted();
  writeCode(cell, attempt(1), 'a = "😀"');
  writeCode(cell, attempt(1), 'a = "😁"');
  assert.equal(codeOf(cell.getSource()), 'a = "😁"');
});

test('a stream grows by what is new, and outputs before it stay', () => {
  const cell = inserted();
  const image = {
    output_type: 'display_data',
    data: { 'image/png': 'aGk=' },
    metadata: {}
  } as const;
  let now = writeOutputs(cell, [], [image, stdout('a')]);
  const deltas: unknown[] = [];
  cell.changed.connect((_, change) => deltas.push(change));
  now = writeOutputs(cell, now, [image, stdout('ab')]);
  assert.deepEqual(deltas, [
    { streamOutputChange: [{ retain: 1 }, { insert: 'b' }] }
  ]);
  now = writeOutputs(cell, now, [image, stdout('ax'), image]);
  assert.deepEqual(cell.getOutputs(), [image, stdout('ax'), image]);
  writeOutputs(cell, now, []);
  assert.deepEqual(cell.getOutputs(), []);
});

test('neighbouring streams of one name are one', () => {
  const cell = inserted();
  writeOutputs(cell, [], [stdout('a'), stdout('b')]);
  assert.deepEqual(cell.getOutputs(), [stdout('ab')]);
});

test('accepting leaves an ordinary cell with its provenance, in one step', () => {
  const made = notebook();
  const cell = inserted(made);
  writeCode(cell, attempt(1), 'print(1)');
  writeAttempt(cell, attempt(1, { status: 'succeeded' }));
  setCollapsed(cell, true);
  acceptAttempt(made, cell);
  assert.equal(cell.getSource(), 'print(1)');
  assert.equal(cell.getMetadata('tags'), undefined);
  assert.equal(isCollapsed(cell), false);
  const record = attemptIn(cell);
  assert.equal(record?.role, 'accepted');
  assert.equal(record?.hash, codeHash('print(1)'));
  made.undo();
  assert.equal(cell.getSource(), '%%attempt task1.1\nprint(1)');
  assert.deepEqual(cell.getMetadata('tags'), ['skip-execution']);
  assert.equal(attemptIn(cell)?.status, 'succeeded');
});

test('accepting twice changes nothing', () => {
  const made = notebook();
  const cell = inserted(made);
  acceptAttempt(made, cell);
  cell.setSource('%%time\nprint(1)');
  acceptAttempt(made, cell);
  assert.equal(cell.getSource(), '%%time\nprint(1)');
});

test('discarding several is one step, and a notebook keeps a cell', () => {
  const made = notebook();
  const cells = [1, 2].flatMap(
    number => insertAttempt(made, 'agent', attempt(number)) ?? []
  );
  deleteCells(made, cells);
  assert.equal(made.cells.length, 2);
  made.undo();
  assert.equal(made.cells.length, 4);
  deleteCells(made, [...made.cells] as ISharedCodeCell[]);
  assert.deepEqual(sources(made), ['']);
});

test('collapsing keeps what others wrote', () => {
  const cell = inserted();
  cell.setMetadata('jupyter', { outputs_scrolled: true });
  setCollapsed(cell, true);
  assert.equal(isCollapsed(cell), true);
  assert.equal(cell.getMetadata('collapsed'), true);
  setCollapsed(cell, false);
  assert.deepEqual(cell.getMetadata('jupyter'), { outputs_scrolled: true });
});

test('what ran in a kernel that ended is stopped, what goes on is not', () => {
  const made = notebook();
  const agent = findAgentCell(made, 'agent', '');
  assert.ok(agent);
  writeTask(agent, task());
  const cell = inserted(made);
  markStopped(made, ['task1'], 'the kernel ended');
  assert.equal(taskIn(agent)?.status, 'running');
  markStopped(made, [], 'the kernel ended');
  assert.equal(taskIn(agent)?.status, 'stopped');
  assert.equal(attemptIn(cell)?.status, 'failed');
});

test('an agent cell is found by its text where its id is unknown', () => {
  const made = notebook();
  assert.equal(findAgentCell(made, '', '%%agent\nsum it up')?.id, 'agent');
  assert.equal(findAgentCell(made, 'gone', '%%agent\nsum it up'), null);
});

test('only an agent cell has a task', () => {
  assert.equal(taskText('%%agent --review\n do it '), 'do it');
  assert.equal(taskText('x = 1'), null);
  assert.equal(taskText('%%agents\nx'), null);
});

test('what others wrote under our key is no record', () => {
  const made = notebook();
  const cell = inserted(made);
  const bad = [null, 1, 'x', {}, { ...attempt(1), task: '<b>' }];
  for (const value of bad) {
    cell.setMetadata('jupyter_codeagent', value as never);
    assert.equal(attemptIn(cell), null);
  }
});

test('a record that stayed at work shows the end of its task, any other output stays', () => {
  const made = notebook();
  const agent = findAgentCell(made, 'agent', '');
  assert.ok(agent);
  const shown = (state: string) => ({
    output_type: 'display_data',
    data: { 'text/html': `<div class="jca jca-${state}"><b>x</b></div>` },
    metadata: {}
  });
  agent.setOutputs([stdout('a\n'), shown('running')]);
  assert.equal(placeOfWork(agent), 1);
  writeEnd(agent, shown('solved').data);
  assert.deepEqual(agent.getOutputs().slice(1), [shown('solved')]);
  assert.equal(placeOfWork(agent), -1);
  writeEnd(agent, shown('failed').data);
  assert.deepEqual(agent.getOutputs().slice(1), [shown('solved')]);
});

test('what lacks its first line is no attempt, as it would run in the kernel', () => {
  const cell = inserted();
  const record = attempt(1, { status: 'succeeded' });
  writeAttempt(cell, record);
  for (const source of [
    'x = 1',
    '',
    '\n%%attempt task1.1\nx = 1',
    '# x\n%%attempt task1.1\nx = 1',
    '%%attempt task1.12\nx = 1',
    '%%attempt task1.1x = 1',
    '%%attempt task2.1\nx = 1'
  ]) {
    cell.setSource(source);
    assert.equal(attemptIn(cell), null, source);
  }
  for (const source of ['%%attempt task1.1\nx = 1', '%%attempt task1.1']) {
    cell.setSource(source);
    assert.equal(attemptIn(cell)?.role, 'attempt', source);
  }
  cell.setSource('x = 1');
  writeAttempt(cell, attempt(1));
  assert.equal(attemptIn(cell)?.status, 'running');
});

test('the first line is put back before an attempt is run, and nothing is lost', () => {
  const cell = inserted();
  const record = attempt(1, { status: 'succeeded' });
  for (const now of [record, attempt(1)]) {
    writeAttempt(cell, now);
    for (const source of ['x = 1\ny = 2', '%%attempt task1.1x = 1', '']) {
      cell.setSource(source);
      assert.equal(ensureFirstLine(cell, record), true);
      assert.equal(cell.getSource(), `%%attempt task1.1\n${source}`);
    }
    assert.equal(ensureFirstLine(cell, record), true);
    assert.equal(cell.getSource(), '%%attempt task1.1\n');
  }
});

test('no first line is put before what is not that attempt', () => {
  const made = notebook();
  const cell = inserted(made);
  const record = attempt(1, { status: 'succeeded' });
  writeAttempt(cell, record);
  cell.setSource('x = 1');
  assert.equal(ensureFirstLine(cell, attempt(2)), false);
  writeAttempt(cell, { ...record, role: 'accepted', status: 'accepted' });
  assert.equal(ensureFirstLine(cell, record), false);
  cell.deleteMetadata('jupyter_codeagent');
  assert.equal(ensureFirstLine(cell, record), false);
  assert.equal(cell.getSource(), 'x = 1');
});

test('no agent cell is found by nothing', () => {
  const made = notebook();
  made.insertCell(0, { cell_type: 'code', source: '' });
  assert.equal(findAgentCell(made, '', ''), null);
});
