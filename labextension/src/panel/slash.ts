/** Commands that are typed into the task box. */

export const SLASH = [
  'fix',
  'explain',
  'test',
  'save',
  'undo',
  'help'
] as const;

export type Slash = (typeof SLASH)[number];

/** What was typed: a command with what follows it, a word after "/" that is none, or a plain task. */
export type Typed =
  | { kind: 'task'; text: string }
  | { kind: 'command'; name: Slash; rest: string }
  | { kind: 'unknown'; name: string };

/** Read what was typed. A path such as "/data/x.csv" is no command. */
export function typed(text: string): Typed {
  const task = text.trim();
  const match = /^\/([a-zA-Z]+)(?:\s+([\s\S]*))?$/.exec(task);
  if (!match) {
    return { kind: 'task', text: task };
  }
  const name = match[1].toLowerCase();
  const known = SLASH.find(command => command === name);
  return known
    ? { kind: 'command', name: known, rest: (match[2] ?? '').trim() }
    : { kind: 'unknown', name };
}
