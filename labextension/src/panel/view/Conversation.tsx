/** The tasks of the notebook, the latest at the end. */

import { memo, useEffect, useLayoutEffect, useRef, useState } from 'react';

import { agentIcon } from '../../icons';
import type { INotebookWork } from '../../tokens';
import { news, standingOf } from '../news';
import { errorLines } from '../notebook';
import { usePanel } from './context';
import { Task } from './Task';

const TASKS = 4; // tasks that are shown without being asked for: more would be felt when the panel opens
const MORE = 10; // tasks that are shown then
const NEAR = 40; // pixels from the end that still count as the end

export interface IConversationProps {
  work: INotebookWork;
  /** Another one where there may be something else to show; writing in the box makes none. */
  revision: number;
}

export const Conversation = memo(TaskList);

function TaskList(props: IConversationProps): JSX.Element {
  const { model, trans } = usePanel();
  const { tasks } = props.work;
  const folded = model.folds.count(tasks);
  const [most, setMost] = useState(TASKS);
  const errorOf = errorLines(props.work.panel);
  const first = Math.max(folded, tasks.length - most);
  const place = useRef<HTMLDivElement>(null);
  useScrolling(place, props.work);
  const showEarlier = () => {
    model.folds.unfold(tasks);
    setMost(folded > 0 ? Math.max(TASKS, most) : most + MORE);
  };
  return (
    <>
      <div
        className="jp-codeagent-Conversation"
        ref={place}
        role="log"
        aria-live="off"
        aria-label={trans.__('Tasks of this notebook')}
        tabIndex={0}
      >
        {first > 0 && (
          <button
            type="button"
            className="jp-codeagent-Link"
            onClick={showEarlier}
          >
            {trans._n('Show %1 earlier task', 'Show %1 earlier tasks', first)}
          </button>
        )}
        {tasks.slice(first).map(task => (
          <Task
            key={task.cellId}
            work={props.work}
            task={task}
            errorOf={errorOf}
          />
        ))}
        {first >= tasks.length && <Welcome />}
      </div>
      <News work={props.work} />
    </>
  );
}

function Welcome(): JSX.Element {
  const { trans } = usePanel();
  return (
    <div className="jp-codeagent-Welcome">
      <agentIcon.react tag="span" width="32px" aria-hidden="true" />
      <p>{trans.__('Say in plain words what you need.')}</p>
      <p className="jp-codeagent-Panel-quiet">
        {trans.__(
          'The agent writes Python and tries it in a sandbox; each attempt becomes a cell. Nothing reaches your kernel before you accept it.'
        )}
      </p>
      <p className="jp-codeagent-Panel-quiet">
        {trans.__('@ attaches cells, variables and files; / lists commands.')}
      </p>
    </div>
  );
}

/** Stay at the end while the user is there, and go there with a new task. */
function useScrolling(
  place: React.RefObject<HTMLDivElement>,
  work: INotebookWork
): void {
  const atEnd = useRef(true);
  const seen = useRef<{ work: INotebookWork; count: number } | null>(null);
  useEffect(() => {
    const node = place.current!;
    const note = () => {
      const rest = node.scrollHeight - node.scrollTop - node.clientHeight;
      atEnd.current = rest < NEAR;
    };
    // what is laid out later (Markdown, colours, the width) moves the end
    const follow = () => {
      if (atEnd.current) {
        node.scrollTop = node.scrollHeight;
      }
    };
    const grown = new MutationObserver(follow);
    grown.observe(node, { childList: true, subtree: true });
    const sized = new ResizeObserver(follow);
    sized.observe(node);
    node.addEventListener('scroll', note, { passive: true });
    return () => {
      grown.disconnect();
      sized.disconnect();
      node.removeEventListener('scroll', note);
    };
  }, [place]);
  useLayoutEffect(() => {
    const before = seen.current;
    const count = work.tasks.length;
    if (before?.work !== work || count > before.count) {
      atEnd.current = true;
    }
    seen.current = { work, count };
    if (atEnd.current) {
      place.current!.scrollTop = place.current!.scrollHeight;
    }
  });
}

/** The live region: what a user who cannot see the list waits for. */
function News(props: { work: INotebookWork }): JSX.Element {
  const { trans } = usePanel();
  const { work } = props;
  const before = useRef({ work, standing: standingOf(work.tasks) });
  const [told, setTold] = useState('');
  useEffect(() => {
    const standing = standingOf(work.tasks);
    const told =
      before.current.work === work
        ? news(before.current.standing, standing, trans)
        : [];
    before.current = { work, standing };
    if (told.length) {
      setTold(told.slice(-3).join(' '));
    }
  });
  return (
    <div className="jp-codeagent-Hidden" role="status" aria-live="polite">
      {told}
    </div>
  );
}
