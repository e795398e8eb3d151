/** A comm that we open, so that the kernel answers it also while a cell runs. */

import { type Kernel, KernelMessage } from '@jupyterlab/services';
import { type JSONObject, UUID } from '@lumino/coreutils';

import type { IOnSubshell } from './listening';

/** How long a kernel may take to start a subshell, in milliseconds; afterwards it goes without. */
const SUBSHELL_PATIENCE = 5000;

export interface IWire {
  readonly id: string;
  send(data: JSONObject): void;
  close(): void;
}

/** Open a comm on a subshell of the kernel, or without one where it has none. */
export async function openWire(
  kernel: Kernel.IKernelConnection,
  target: string,
  data: JSONObject
): Promise<IWire> {
  await kernel.info;
  return kernel.handleComms
    ? openComm(kernel, target, data)
    : openRaw(kernel, target, data);
}

async function openComm(
  kernel: Kernel.IKernelConnection,
  target: string,
  data: JSONObject
): Promise<IWire> {
  const comm = kernel.createComm(target);
  if (
    kernel.supportsSubshells &&
    String(kernel.commsOverSubshells) !== 'disabled'
  ) {
    await patiently((comm as Partial<IOnSubshell>).subshellStarted);
  }
  comm.open(data);
  return {
    id: comm.commId,
    send: message => void comm.send(message, undefined, undefined, true),
    close: () => {
      if (!comm.isDisposed && !kernel.isDisposed) {
        comm.close();
      }
    }
  };
}

/** The same for the second notebook of a kernel in a page, whose connection JupyterLab keeps out of comms. */
async function openRaw(
  kernel: Kernel.IKernelConnection,
  target: string,
  data: JSONObject
): Promise<IWire> {
  const id = UUID.uuid4();
  let subshellId: string | null = null;
  if (kernel.supportsSubshells) {
    const reply = await patiently(kernel.requestCreateSubshell({}).done);
    subshellId = reply?.content.subshell_id ?? null;
  }
  const send = (
    msgType: 'comm_open' | 'comm_msg' | 'comm_close',
    content: object
  ): void => {
    kernel.sendShellMessage(
      KernelMessage.createMessage({
        msgType,
        channel: 'shell',
        username: kernel.username,
        session: kernel.clientId,
        subshellId,
        content: { comm_id: id, ...content }
      } as KernelMessage.IOptions<KernelMessage.ICommMsgMsg<'shell'>>),
      false,
      true
    );
  };
  send('comm_open', { target_name: target, data });
  return {
    id,
    send: message => send('comm_msg', { data: message }),
    close: () => {
      if (!kernel.isDisposed && kernel.connectionStatus === 'connected') {
        send('comm_close', { data: {} });
      }
    }
  };
}

/** Return what is promised, or null where it fails or takes too long. */
async function patiently<T>(
  promise: Promise<T> | undefined
): Promise<T | null> {
  const late = new Promise<null>(resolve =>
    window.setTimeout(() => resolve(null), SUBSHELL_PATIENCE)
  );
  return Promise.race([promise?.catch(() => null) ?? null, late]);
}
