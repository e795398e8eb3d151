/** The text of an agent cell: what the user wrote, and below it what was attached. */

import { middleCut } from './text';

/** Something from the notebook that is quoted below the task. */
export interface IQuote {
  /** What it is: "The cell [3]". */
  title: string;
  /** Of the fenced block; empty for plain text. */
  language: string;
  text: string;
}

/** Characters of one quote at most: what is longer goes in as its begin and end. */
export const QUOTE_LIMIT = 12_000;

const TITLES = ['The cell', 'The selection', 'Its error', 'The file'];
const QUOTED = new RegExp(
  String.raw`(?:^|\n\n)(?:${TITLES.join('|')})[^\n]*:\n\n(\`{3,})[^\n]*\n[\s\S]*?\n\1(?=\n|$)`,
  'g'
);

/** Return the task with its quotes, each in a fence that nothing in it can close. */
export function compose(task: string, quotes: readonly IQuote[]): string {
  const blocks = quotes.map(quote => {
    const text = middleCut(quote.text.replace(/\s+$/, ''), QUOTE_LIMIT);
    const longest = Math.max(
      2,
      ...(text.match(/`+/g) ?? []).map(run => run.length)
    );
    const fence = '`'.repeat(longest + 1);
    return `${quote.title}:\n\n${fence}${quote.language}\n${text}\n${fence}`;
  });
  return [task.trim(), ...blocks].filter(part => part).join('\n\n');
}

/** Return the task as the user wrote it, without what `compose` put below it. */
export function withoutQuotes(task: string): string {
  return task.replace(QUOTED, '').trim();
}

/** Return a name so that it matches as a pattern only itself. */
export function literalPattern(name: string): string {
  return name.replace(/[[*?]/g, '[$&]');
}
