export interface Entity {
  readonly id: number;
  name: string;
}

export class Repository<T extends Entity> {
  private readonly entities = new Map<number, T>();

  open(entity: T): this {
    this.entities.set(entity.id, entity);
    return this;
  }

  remove(id: number): boolean {
    return this.entities.delete(id);
  }

  find(predicate: (entity: T) => boolean): T | undefined {
    return [...this.entities.values()].find(predicate);
  }
}

const people = new Repository<Entity>().open({ id: 1, name: 'Ada' }).open({ id: 2, name: 'Bob' });
people.remove(2);
console.log(people.find((person) => person.name.startsWith('A'))?.name ?? 'nobody');
