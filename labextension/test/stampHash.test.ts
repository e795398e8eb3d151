import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { YNotebook } from '@jupyter/ydoc';
import type { INotebookContent } from '@jupyterlab/nbformat';

import { cellHash, contentHash } from '../src/stamp/content';
import { settled } from '../src/stamp/settled';

interface IVector {
  name: string;
  notebook: INotebookContent;
  hash: string;
}

// as npm runs the tests, in labextension/
const file = join(process.cwd(), '..', 'tests', 'data', 'stamps.json');
const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as {
  vectors: IVector[];
};

function hashOf({ cells, metadata }: INotebookContent): string {
  const hashes = (cells ?? []).map(cellHash);
  return contentHash(hashes, metadata?.jupyter_codeagent);
}

for (const { name, notebook, hash } of vectors) {
  test(`the hash of a notebook is the one of stamp.py: ${name}`, () => {
    assert.equal(hashOf(notebook), hash);
  });
}

test('a notebook that JupyterLab has opened has the hash of its file', () => {
  for (const { name, notebook, hash } of vectors) {
    const known = notebook.cells.every(cell =>
      ['code', 'markdown', 'raw'].includes(cell.cell_type)
    );
    if (!known || notebook.nbformat !== 4) {
      continue; // none that it opens
    }
    const opened = YNotebook.create();
    opened.fromJSON(structuredClone(notebook));
    const cells = opened.cells.map(cell => cellHash(cell.toJSON()));
    const metadata = opened.getMetadata().jupyter_codeagent;
    assert.equal(contentHash(cells, metadata), hash, name);
  }
});

test('what a terminal wrote over does not count', () => {
  assert.equal(settled('10%\r20%\r\nend'), '20%\nend');
  assert.equal(settled('abc\b\bX'), 'aXc');
  assert.equal(settled('\b\bx'), 'x');
});
