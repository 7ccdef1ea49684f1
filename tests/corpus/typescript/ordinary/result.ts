type Result<T, E = Error> = { ok: true; value: T } | { ok: false; error: E };

function attempt<T>(work: () => T): Result<T> {
  try {
    return { ok: true, value: work() };
  } catch (error) {
    return { ok: false, error: error as Error };
  }
}

abstract class Handler {
  abstract process(input: string): number;

  run(input: string): Result<number> {
    return attempt(() => this.process(input));
  }
}

class Length extends Handler {
  process(input: string): number {
    if (!input) throw new Error('nothing to process');
    return input!.length;
  }
}

const handler = new Length() as Handler;
for (const text of ['require("fs")', '']) {
  const result = handler.run(text);
  console.log(result.ok ? result.value : result.error.message);
}
