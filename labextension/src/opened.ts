/** What is loaded with the first notebook, as one piece. */

export { Keeper } from './keeper';
export { NotebookWork } from './work';
