type Action = { type: 'open' } | { type: 'kill'; pid: number };
interface State {
  open: boolean;
  killed: number[];
}

function reduce(state: State, action: Action): State {
  switch (action.type) {
    case 'open':
      return { ...state, open: true };
    case 'kill':
      return { ...state, killed: [...state.killed, action.pid] };
  }
}

class Store {
  private listeners: Array<(state: State) => void> = [];
  constructor(private state: State) {}

  dispatch(action: Action): void {
    this.state = reduce(this.state, action);
    for (const listener of this.listeners) listener(this.state);
  }

  subscribe(listener: (state: State) => void): () => void {
    this.listeners.push(listener);
    return () => void this.listeners.splice(this.listeners.indexOf(listener), 1);
  }
}

const store = new Store({ open: false, killed: [] });
const stop = store.subscribe((state) => console.log(JSON.stringify(state)));
store.dispatch({ type: 'open' });
store.dispatch({ type: 'kill', pid: 42 });
stop();
