/** The commands for attempts and tasks: labels here, what they do in work.ts. */

import type { ICommandPalette } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import {
  checkIcon,
  deleteIcon,
  editIcon,
  type LabIcon,
  refreshIcon,
  runIcon,
  stopIcon
} from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';

import type { AgentCells } from './agentCells';
import { mayChoose } from './candidates';
import { unfinished } from './records';
import { Commands, type IAttemptView, type ITaskView } from './tokens';
import type { NotebookWork } from './work';

interface IDeed {
  id: string;
  label: string;
  caption: string;
  icon?: LabIcon;
  able: (work: NotebookWork) => boolean;
  run: (work: NotebookWork) => unknown;
}

/** Register the commands; `cells` says on which notebook they work. Returns what to call when that may be others. */
export function addCommands(
  commands: CommandRegistry,
  cells: AgentCells,
  trans: TranslationBundle,
  palette: ICommandPalette | null
): () => void {
  const deeds = [...attemptDeeds(trans), ...taskDeeds(trans)];
  for (const { id, label, caption, icon, able, run } of deeds) {
    const isEnabled = () => cells.current !== null && able(cells.current);
    commands.addCommand(id, {
      label,
      caption,
      icon,
      isEnabled,
      // In a cell's toolbar and menu only where it can be done; the palette greys it out.
      isVisible: args => args.isPalette === true || isEnabled(),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: async () => {
        if (cells.current && able(cells.current)) {
          await run(cells.current);
        }
      }
    });
    palette?.addItem({
      command: id,
      category: trans.__('Code Agent'),
      args: { isPalette: true }
    });
  }
  return () => deeds.forEach(({ id }) => commands.notifyCommandChanged(id));
}

/** Commands for the attempt in the active cell. */
function attemptDeeds(trans: TranslationBundle): IDeed[] {
  const on =
    (run: (work: NotebookWork, attempt: IAttemptView) => unknown) =>
    (work: NotebookWork) =>
      work.activeAttempt && run(work, work.activeAttempt);
  const open = ({ activeAttempt }: NotebookWork) =>
    activeAttempt?.record.role === 'attempt' &&
    activeAttempt.record.status !== 'running';
  return [
    {
      id: Commands.acceptAndRun,
      label: trans.__('Accept Attempt and Run It'),
      caption: trans.__('Make the attempt an ordinary cell and run it'),
      icon: runIcon,
      able: open,
      run: on((work, attempt) => work.accept(attempt, true))
    },
    {
      id: Commands.accept,
      label: trans.__('Accept Attempt'),
      caption: trans.__('Make the attempt an ordinary cell without running it'),
      icon: checkIcon,
      able: open,
      run: on((work, attempt) => work.accept(attempt, false))
    },
    {
      id: Commands.edit,
      label: trans.__('Edit Attempt'),
      caption: trans.__('Change the code of the attempt'),
      icon: editIcon,
      able: open,
      run: on((work, attempt) => work.edit(attempt))
    },
    {
      id: Commands.runInSandbox,
      label: trans.__('Run Attempt in Sandbox'),
      caption: trans.__('Run the attempt in the sandbox, not in the kernel'),
      icon: refreshIcon,
      able: open,
      run: on((work, attempt) => work.runInSandbox(attempt))
    },
    {
      id: Commands.discard,
      label: trans.__('Discard Attempt'),
      caption: trans.__('Delete the attempt and take its effect back'),
      icon: deleteIcon,
      able: open,
      run: on((work, attempt) => work.discard(attempt))
    },
    {
      id: Commands.choose,
      label: trans.__('Choose This Candidate'),
      caption: trans.__('Have the task go on from this candidate instead'),
      icon: checkIcon,
      able: ({ activeAttempt }) =>
        activeAttempt !== null && mayChoose(activeAttempt),
      run: on((work, attempt) => work.chooseAndSay(attempt))
    },
    {
      id: Commands.toggle,
      label: trans.__('Collapse or Expand Attempt'),
      caption: trans.__('Show the attempt as one line, or whole'),
      able: ({ activeAttempt }) => activeAttempt?.record.role === 'attempt',
      run: on((work, attempt) => work.toggle(attempt))
    }
  ];
}

/** Commands for the task that the active cell belongs to. */
function taskDeeds(trans: TranslationBundle): IDeed[] {
  const on =
    (run: (work: NotebookWork, task: ITaskView) => unknown) =>
    (work: NotebookWork) =>
      work.activeTask && run(work, work.activeTask);
  const waiting = (work: NotebookWork) => work.pending.length > 0;
  const ofTask = ({ activeTask, pending }: NotebookWork) =>
    pending.some(({ record }) => record.task === activeTask?.id);
  return [
    {
      id: Commands.next,
      label: trans.__('Go to Next Attempt'),
      caption: trans.__('Go to the next attempt that waits for review'),
      able: waiting,
      run: work => work.goToNext(1)
    },
    {
      id: Commands.previous,
      label: trans.__('Go to Previous Attempt'),
      caption: trans.__('Go to the previous attempt that waits for review'),
      able: waiting,
      run: work => work.goToNext(-1)
    },
    {
      id: Commands.acceptAll,
      label: trans.__('Accept All Attempts of Task'),
      caption: trans.__('Accept every attempt that did not fail'),
      icon: checkIcon,
      able: ofTask,
      run: on((work, task) => work.acceptAll(task))
    },
    {
      id: Commands.discardAll,
      label: trans.__('Discard All Attempts of Task'),
      caption: trans.__('Delete every attempt that was not accepted'),
      icon: deleteIcon,
      able: ofTask,
      run: on((work, task) => work.discardAll(task))
    },
    {
      id: Commands.stop,
      label: trans.__('Stop Task'),
      caption: trans.__('Stop the task that the agent works on'),
      icon: stopIcon,
      able: ({ running }) => running !== null,
      run: work => work.stop()
    },
    {
      id: Commands.solveAgain,
      label: trans.__('Solve Task Again'),
      caption: trans.__('Ask the model anew, also where the task was solved'),
      icon: refreshIcon,
      able: ({ activeTask }) =>
        Boolean(activeTask?.record && !unfinished(activeTask.record)),
      run: on((work, task) => work.solveAgain(task))
    }
  ];
}
