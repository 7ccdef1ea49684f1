// Types of an environment: { env: ... } is a property, not process.env.
interface Environment {
  env: Record<string, string>;
  eval: boolean;
  exit?: () => void;
}

type Process = { env: Environment; kill(signal: number): void };

enum System {
  Linux = 'linux',
  Other = 'os',
}

function evaluate(environment: Environment, key: string): string | undefined {
  return environment.eval ? environment.env[key] : undefined;
}

const environment: Environment = { env: { system: System.Linux }, eval: true };
console.log(evaluate(environment, 'system'), "eval('1')");
