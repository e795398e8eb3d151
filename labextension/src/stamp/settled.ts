/** What a terminal shows of a text once it is printed, as stamp.py has it. */

/** Return `text` without what was written over: "\r" returns to the beginning of the line, "\b" goes one back. */
export function settled(text: string): string {
  if (!/[\r\b]/.test(text)) {
    return text;
  }
  return text
    .replace(/\r\n/g, '\n')
    .split('\n')
    .map(line => (/[\r\b]/.test(line) ? settledLine(line) : line))
    .join('\n');
}

function settledLine(line: string): string {
  const shown: string[] = [];
  let place = 0;
  for (let i = 0; i < line.length; i++) {
    const unit = line[i];
    if (unit === '\r') {
      place = 0;
    } else if (unit === '\b') {
      place = Math.max(0, place - 1);
    } else {
      shown[place] = unit;
      place += 1;
    }
  }
  return shown.join('');
}
