/** Two texts line by line: which lines stand in both. */

export interface ILine {
  text: string;
  same: boolean;
}

/** Lines of each text that are compared; of longer ones what is the same at their begin and end. */
const MOST = 400;

/** Return the lines of both texts; "same" are those of a longest common subsequence. */
export function compared(
  expected: string,
  found: string
): { expected: ILine[]; found: ILine[] } {
  const [a, b] = [expected.split('\n'), found.split('\n')];
  const most = Math.min(a.length, b.length);
  let begin = 0;
  while (begin < most && a[begin] === b[begin]) {
    begin += 1;
  }
  let end = 0;
  while (
    end < most - begin &&
    a[a.length - 1 - end] === b[b.length - 1 - end]
  ) {
    end += 1;
  }
  const between = common(
    a.slice(begin, a.length - end),
    b.slice(begin, b.length - end)
  );
  const marked = (lines: string[], shared: Set<number>) =>
    lines.map((text, i) => ({
      text,
      same: i < begin || i >= lines.length - end || shared.has(i - begin)
    }));
  return {
    expected: marked(a, between.a),
    found: marked(b, between.b)
  };
}

/** Return the places of a longest common subsequence in each of two lists. */
function common(
  a: readonly string[],
  b: readonly string[]
): { a: Set<number>; b: Set<number> } {
  const places = { a: new Set<number>(), b: new Set<number>() };
  if (a.length > MOST || b.length > MOST) {
    return places;
  }
  const width = b.length + 1;
  const longest = new Uint16Array((a.length + 1) * width); // of what follows
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      longest[i * width + j] =
        a[i] === b[j]
          ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) {
      places.a.add(i++);
      places.b.add(j++);
    } else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) {
      i += 1;
    } else {
      j += 1;
    }
  }
  return places;
}
