const EventEmitter = require('events');
const util = require('util');

class Queue extends EventEmitter {
  constructor(limit) {
    super();
    this.limit = limit;
    this.process = (job) => job.run();
    this.waiting = [];
  }

  open() {
    this.emit('open');
  }

  exit(reason) {
    this.emit('exit', reason);
  }

  async drain() {
    while (this.waiting.length) await this.process(this.waiting.shift());
  }
}

const queue = new Queue(3);
queue.on('exit', (why) => console.log('exit', why));
queue.waiting.push({ run: async () => console.log(util.inspect({ kill: false, net: 1 })) });
queue.open();
queue.drain().then(() => queue.exit('done'));
