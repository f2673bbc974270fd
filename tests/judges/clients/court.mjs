// What every judge shares: it is told its case on standard input, asks for the browser on standard output, and says
// what it found. Nothing here speaks OAuth.
import { webcrypto } from 'node:crypto'
import { createInterface } from 'node:readline'

globalThis.crypto ??= webcrypto
globalThis.CryptoKey ??= webcrypto.CryptoKey

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

async function hear() {
  const { value } = await lines.next()
  return JSON.parse(value)
}

async function say(told) {
  await new Promise((done) => process.stdout.write(JSON.stringify(told) + '\n', done))
}

// The customer opens this address and decides ('approve' or 'decline'); 'refused' when she is never asked; 'let in' when
// it is the code of a program of hers.
export async function open(address, decision = 'approve') {
  await say({ open: String(address), decision })
  return new URL((await hear()).came_back)
}

export async function sit(cases) {
  const given = await hear()
  try {
    await say({ found: (await cases[given.case](given)) ?? null })
  } catch (error) {
    await say({ failed: `${error.stack ?? error}\n${JSON.stringify(error.cause ?? {}, Object.getOwnPropertyNames(error.cause ?? {}))}` })
  }
  process.exit(0)
}
