/** The first line of an agent cell, and what loads the magics. */

import type { IAskOptions } from './tokens';

/** Loads the magics. */
export const LOAD = '%load_ext jupyter_codeagent';
const RELOAD = '%reload_ext jupyter_codeagent';

const SAFE = /^[\w@%+=:,./-]+$/;

/** Whether a cell with this source loads the magics and does nothing else. */
export function loads(source: string): boolean {
  return [LOAD, RELOAD].includes(source.trim());
}

/** Return `word` so that Python's shlex.split gives it back as one word. */
export function quoted(word: string): string {
  return SAFE.test(word) ? word : `'${word.replace(/'/g, `'"'"'`)}'`;
}

/** Return the text of an agent cell; what would begin another line is left out of the first. */
export function agentCell(task: string, options: IAskOptions): string {
  const words = ['%%agent'];
  if (options.background) {
    words.push('--background');
  }
  if (options.review) {
    words.push('--review');
  }
  if (options.model) {
    words.push('--model', value(options.model));
  }
  if (options.attempts) {
    words.push('--attempts', String(options.attempts));
  }
  if (options.candidates) {
    words.push('--candidates', String(options.candidates));
  }
  if (options.variables?.length) {
    words.push('--with', ...options.variables.map(value));
  }
  if (options.files?.length) {
    words.push('--files', ...options.files.map(file));
  }
  return `${words.join(' ')}\n${task.trim()}`;
}

function value(word: string): string {
  return quoted(word.replace(/[\r\n]+/g, ' '));
}

/** A name that begins with a dash would be read as an option. */
function file(name: string): string {
  return value(name.startsWith('-') ? `./${name}` : name);
}
