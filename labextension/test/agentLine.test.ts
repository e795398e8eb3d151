import assert from 'node:assert/strict';
import { test } from 'node:test';

import { agentCell, LOAD, loads, quoted } from '../src/agentLine';

test('words are quoted as a shell needs it', () => {
  assert.equal(quoted('sales.csv'), 'sales.csv');
  assert.equal(quoted('my sales.csv'), "'my sales.csv'");
  assert.equal(quoted("it's"), `'it'"'"'s'`);
  assert.equal(quoted(''), "''");
});

test('options stand in the first line, and nothing of them below', () => {
  const text = agentCell('sum it up\n', {
    background: true,
    review: true,
    model: 'a\nb',
    attempts: 3,
    candidates: 2,
    files: ['-x.csv', 'a b.csv'],
    variables: ['df']
  });
  assert.equal(
    text,
    "%%agent --background --review --model 'a b' --attempts 3 --candidates 2 --with df --files ./-x.csv 'a b.csv'\nsum it up"
  );
});

test('without options there is only the magic', () => {
  assert.equal(agentCell('do it', { background: false }), '%%agent\ndo it');
});

test('only a cell that does nothing else is run to load the magics', () => {
  assert.ok(loads(LOAD));
  assert.ok(loads('\n %reload_ext jupyter_codeagent \n'));
  for (const source of [
    '',
    `import os\n${LOAD}`,
    `${LOAD}\nos.remove("x")`,
    `${LOAD}; x = 1`,
    `${LOAD}_other`,
    `# ${LOAD}`,
    `%%bash\n${LOAD}`
  ]) {
    assert.equal(loads(source), false, source);
  }
});
