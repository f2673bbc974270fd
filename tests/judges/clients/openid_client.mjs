// openid-client: one configuration that was discovered, and one call per grant.
import { open, sit } from './court.mjs'
import assert from 'node:assert/strict'
import * as client from 'openid-client'

async function proof(given) {
  if (given.key) {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
    const key = await crypto.subtle.importKey('jwk', given.key, algorithm, false, ['sign'])
    return client.PrivateKeyJwt({ key, kid: given.key.kid })
  }
  return given.client_secret ? client.ClientSecretBasic(given.client_secret) : client.None()
}

async function discover(given) {
  return client.discovery(new URL(given.issuer), given.client_id, undefined, await proof(given), {
    algorithm: 'oauth2',
    execute: [client.allowInsecureRequests], // http on loopback
  })
}

async function question(given, verifier, state) {
  return {
    redirect_uri: given.redirect_uri,
    scope: given.scope,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
  }
}

// The key of the proofs, where tokens shall be bound.
async function binding(config, given) {
  if (!given.bound) return {}
  return { DPoP: client.getDPoPHandle(config, await client.randomDPoPKeyPair(given.bound)) }
}

async function journey(config, given, more) {
  const verifier = client.randomPKCECodeVerifier()
  const state = client.randomState()
  const parameters = await question(given, verifier, state)
  const to = given.pushed
    ? await client.buildAuthorizationUrlWithPAR(config, parameters, more)
    : client.buildAuthorizationUrl(config, parameters)
  const back = await open(to)
  const checks = { pkceCodeVerifier: verifier, expectedState: state }
  return client.authorizationCodeGrant(config, back, checks, undefined, more)
}

async function read(config, given, token, more) {
  const to = new URL(given.issuer + '/api/v1/purchases')
  const answer = await client.fetchProtectedResource(config, token, to, 'GET', undefined, undefined, more)
  return (await answer.json()).items.map((row) => row.item.title).sort()
}

async function whole(config, given) {
  const more = await binding(config, given)
  const first = await journey(config, given, more)
  const seen = await read(config, given, first.access_token, more)
  const second = await client.refreshTokenGrant(config, first.refresh_token, undefined, more)
  assert.deepEqual(await read(config, given, second.access_token, more), seen)
  await client.tokenRevocation(config, second.refresh_token ?? first.refresh_token)
  await assert.rejects(read(config, given, second.access_token, more))
  const rotated = second.refresh_token !== undefined && second.refresh_token !== first.refresh_token
  return { seen, type: first.token_type, lives: first.expiresIn(), rotated }
}

await sit({
  async whole(given) {
    return whole(await discover(given), given)
  },

  async mismatches(given) {
    const config = await discover(given)
    const verifier = client.randomPKCECodeVerifier()
    const back = await open(client.buildAuthorizationUrl(config, await question(given, verifier, 'st4te')))
    const checks = { pkceCodeVerifier: verifier, expectedState: 'st4te' }
    await assert.rejects(client.authorizationCodeGrant(config, back, { ...checks, expectedState: 'other' }))
    const mixed = new URL(back)
    mixed.searchParams.set('iss', 'https://evil.example')
    await assert.rejects(client.authorizationCodeGrant(config, mixed, checks))
    await client.authorizationCodeGrant(config, back, checks)
    await assert.rejects(client.authorizationCodeGrant(config, back, checks), { error: 'invalid_grant' })
  },
})
