import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { compileFunction } from 'node:vm';

import { guarded, unguarded } from '../src/panel/fences';

interface IToken {
  type: string;
  lang?: string;
  text: string;
}

/** The parser that JupyterLab uses. */
interface IMarked {
  lexer(source: string): IToken[];
  walkTokens(tokens: IToken[], visit: (token: IToken) => void): unknown;
  parse(source: string): string;
}

const STARTS = [
  '',
  '   ',
  '\t',
  '- ',
  '* ',
  '+\t',
  '-\t',
  '- - ',
  '1. ',
  '12)\t',
  '> ',
  '>',
  '>\t',
  '> > ',
  '> - ',
  '- > ',
  '1. > - ',
  '- [ ] ',
  'text\n',
  '- text\n  ',
  '1. text\n\n   ',
  '| a |\n|---|\n',
  '# a\n'
];
const FENCES = ['```', '~~~', '`````', '~~~~', '```~', '~~~`', '~~~```'];
const LANGUAGES = [
  'mermaid',
  ' mermaid',
  '\tmermaid',
  '\u2028mermaid',
  '\u000bmermaid',
  '\u00a0mermaid',
  'MERMAID',
  'Mermaid',
  '\\mermaid',
  'mermaid x',
  'python',
  '\rmermaid'
];

/** Return the parser; it is written for another kind of modules than these tests. */
function parser(): IMarked {
  const path = resolve('node_modules/marked/lib/marked.umd.js');
  const module = { exports: {} };
  const run = compileFunction(readFileSync(path, 'utf8'), [
    'module',
    'exports'
  ]);
  Reflect.apply(run, undefined, [module, module.exports]);
  return module.exports as IMarked;
}

function languages(marked: IMarked, source: string): string[] {
  const found: string[] = [];
  marked.walkTokens(marked.lexer(source), token => {
    if (token.type === 'code' && token.lang) {
      found.push(token.lang);
    }
  });
  return found;
}

test('no block has a language, wherever it begins', () => {
  const marked = parser();
  let without = 0;
  for (const start of STARTS) {
    for (const fence of FENCES) {
      for (const language of LANGUAGES) {
        for (const end of ['\n', '\r\n', '\r']) {
          const lines = [`${start}${fence}${language}`, 'x', fence];
          const source = lines.join(end);
          without += languages(marked, source).includes('mermaid') ? 1 : 0;
          for (const found of languages(marked, guarded(source))) {
            assert.match(found, /^[`~\ue001]/, JSON.stringify(source));
          }
        }
      }
    }
  }
  assert.ok(without > 100, 'the parser would have found languages');
});

test('blocks end where they ended, and inline code stays', () => {
  const marked = parser();
  for (const source of [
    '```\nx = 1\n```\n\nafter',
    '```python\nx = 1\n```  \n\nafter',
    '~~~\n```mermaid\n~~~\nafter',
    '- ```sh\n  ls\n  ```\n- b',
    'some ```code``` and ````more ``` x```` here',
    'a ~~~ b'
  ]) {
    const text = (html: string) => html.replace(/ class="[^"]*"/g, '');
    assert.equal(
      text(unguarded(marked.parse(guarded(source)))),
      text(marked.parse(source))
    );
  }
});

test('what is guarded is as it was afterwards', () => {
  const source = '- ```mermaid\n  x\n  ```\n~~~ a\n``` `b` ```c';
  assert.equal(unguarded(guarded(source)), source);
  assert.equal(guarded('```\nx\n```  \n'), '```\nx\n```  \n');
});
