// oauth4webapi: every step is a call of its own, and each answer is checked to the letter.
import { open, sit } from './court.mjs'
import assert from 'node:assert/strict'
import * as oauth from 'oauth4webapi'

const plain = { [oauth.allowInsecureRequests]: true } // http on loopback

async function discover(given) {
  const issuer = new URL(given.issuer)
  const answer = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...plain })
  return oauth.processDiscoveryResponse(issuer, answer)
}

const ALGORITHMS = {
  ES256: { name: 'ECDSA', namedCurve: 'P-256' },
  PS256: { name: 'RSA-PSS', hash: 'SHA-256' },
  Ed25519: { name: 'Ed25519' },
}

// How a client authenticates: by a key of its own, a secret, or its name alone.
async function proof(given) {
  if (given.key) {
    const key = await crypto.subtle.importKey('jwk', given.key, ALGORITHMS[given.algorithm], false, ['sign'])
    return oauth.PrivateKeyJwt({ key, kid: given.key.kid })
  }
  return given.client_secret ? oauth.ClientSecretBasic(given.client_secret) : oauth.None()
}

// Whoever asks: the server's document, the client, how it authenticates, and the key of its proofs where it has one.
async function side(given) {
  const client = { client_id: given.client_id }
  const who = { given, as: await discover(given), client, auth: await proof(given), options: { ...plain }, nonces: 0 }
  if (given.bound) who.options.DPoP = oauth.DPoP(client, await oauth.generateKeyPair(given.bound))
  return who
}

// A call again where the server asked for its nonce; `side.nonces` counts that.
async function noncely(who, call) {
  try {
    return await call()
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error
    who.nonces += 1
    return call()
  }
}

async function question(who, changes = {}) {
  who.verifier = oauth.generateRandomCodeVerifier()
  who.state = oauth.generateRandomState()
  const asked = {
    response_type: 'code',
    client_id: who.client.client_id,
    redirect_uri: who.given.redirect_uri,
    scope: who.given.scope,
    state: who.state,
    code_challenge: await oauth.calculatePKCECodeChallenge(who.verifier),
    code_challenge_method: 'S256',
    ...changes,
  }
  return Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined))
}

function address(who, parameters) {
  const found = new URL(who.as.authorization_endpoint)
  for (const [name, value] of Object.entries(parameters)) found.searchParams.set(name, value)
  return found
}

async function push(who, parameters) {
  const pushed = await noncely(who, async () => {
    const answer = await oauth.pushedAuthorizationRequest(who.as, who.client, who.auth, parameters, who.options)
    return oauth.processPushedAuthorizationResponse(who.as, who.client, answer)
  })
  return address(who, { client_id: who.client.client_id, request_uri: pushed.request_uri })
}

async function redeem(who, parameters, redirect_uri = who.given.redirect_uri, verifier = who.verifier) {
  return noncely(who, async () => {
    const answer = await oauth.authorizationCodeGrantRequest(
      who.as, who.client, who.auth, parameters, redirect_uri, verifier, who.options)
    return oauth.processAuthorizationCodeResponse(who.as, who.client, answer)
  })
}

async function refresh(who, token) {
  return noncely(who, async () => {
    const answer = await oauth.refreshTokenGrantRequest(who.as, who.client, who.auth, token, who.options)
    return oauth.processRefreshTokenResponse(who.as, who.client, answer)
  })
}

async function revoke(who, token) {
  const answer = await oauth.revocationRequest(who.as, who.client, who.auth, token, who.options)
  return oauth.processRevocationResponse(answer)
}

async function introspect(who, token) {
  const answer = await oauth.introspectionRequest(who.as, who.client, who.auth, token, who.options)
  return oauth.processIntrospectionResponse(who.as, who.client, answer)
}

async function read(who, token, path = '/api/v1/purchases') {
  const answer = await noncely(who, () =>
    oauth.protectedResourceRequest(token, 'GET', new URL(who.given.issuer + path), undefined, undefined, who.options))
  assert.equal(answer.status, 200)
  return (await answer.json()).items
}

async function come_back(who, to) {
  return oauth.validateAuthResponse(who.as, who.client, await open(to), who.state)
}

async function journey(who, changes = {}) {
  const parameters = await question(who, changes)
  const to = who.given.pushed ? await push(who, parameters) : address(who, parameters)
  return redeem(who, await come_back(who, to))
}

async function refused(promise, status, error) {
  try {
    await promise
  } catch (caught) {
    assert.equal(caught.code, oauth.RESPONSE_BODY_ERROR, caught.stack)
    assert.deepEqual([caught.status, caught.error], [status, error])
    return
  }
  assert.fail('not refused')
}

// A token that opens nothing (any more): 401 with a challenge that the library can read.
async function shut(who, token) {
  try {
    await read(who, token)
  } catch (caught) {
    assert.equal(caught.code, oauth.WWW_AUTHENTICATE_CHALLENGE, caught.stack)
    assert.equal(caught.status, 401)
    return caught.cause[0]
  }
  return assert.fail('it was read')
}

function titles(items) {
  return items.map((row) => row.item.title).sort()
}

// The whole way: ask, read, refresh, read, give back.
async function whole(who, changes) {
  const first = await journey(who, changes)
  const seen = titles(await read(who, first.access_token))
  const second = await refresh(who, first.refresh_token)
  assert.notEqual(second.access_token, first.access_token)
  assert.deepEqual(titles(await read(who, second.access_token)), seen)
  await revoke(who, second.refresh_token ?? first.refresh_token)
  const challenge = await shut(who, second.access_token)
  return {
    seen,
    type: first.token_type,
    scope: first.scope,
    grant: first.grant_id,
    nonces: who.nonces,
    rotated: second.refresh_token !== undefined && second.refresh_token !== first.refresh_token,
    challenge: { ...challenge.parameters, scheme: challenge.scheme },
  }
}

await sit({
  async whole(given) {
    return whole(await side(given))
  },

  async details(given) {
    const who = await side(given)
    const first = await journey(who, { scope: undefined, authorization_details: JSON.stringify(given.details) })
    return { rows: await read(who, first.access_token), granted: first.authorization_details }
  },

  async introspection(given) {
    const who = await side(given)
    const other = await side({ ...given, ...given.other })
    const found = await journey(who)
    const own = await introspect(who, found.access_token)
    assert.equal((await introspect(other, found.access_token)).active, false) // it is not the other's to ask about
    await revoke(who, found.refresh_token)
    assert.deepEqual({ ...(await introspect(who, found.access_token)) }, { active: false })
    return own
  },

  // A client that nobody knew registers itself, goes all the way, and takes itself away again.
  async registration(given) {
    const as = await discover(given)
    const metadata = { client_name: given.name, redirect_uris: [given.redirect_uri], ...given.metadata }
    const answer = await oauth.dynamicClientRegistrationRequest(as, metadata, plain)
    const made = await oauth.processDynamicClientRegistrationResponse(answer)
    const { client_id, client_secret } = made
    const found = await whole(await side({ ...given, client_id, client_secret }))
    const headers = { authorization: `Bearer ${made.registration_access_token}` }
    const mine = await fetch(made.registration_client_uri, { headers })
    assert.equal((await mine.json()).client_id, client_id)
    const gone = await fetch(made.registration_client_uri, { method: 'DELETE', headers })
    assert.equal(gone.status, 204)
    const after = await side({ ...given, client_id, client_secret })
    const refused = await oauth.refreshTokenGrantRequest(after.as, after.client, after.auth, 'x', plain)
    assert.equal(refused.status, 401)
    return { ...found, made }
  },

  async device(given) {
    const who = await side(given)
    const asking = { scope: 'vault:manage', surplus: 'x' }
    const answer = await oauth.deviceAuthorizationRequest(who.as, who.client, who.auth, asking, plain)
    const asked = await oauth.processDeviceAuthorizationResponse(who.as, who.client, answer)
    await open(asked.verification_uri_complete, 'let in')
    const poll = async () => {
      const polled = await oauth.deviceCodeGrantRequest(who.as, who.client, who.auth, asked.device_code, plain)
      return oauth.processDeviceCodeResponse(who.as, who.client, polled)
    }
    const { token_type, scope } = await poll()
    await refused(poll(), 400, 'invalid_grant')
    return { token_type, scope, code: asked.device_code }
  },

  async discovery(given) {
    const as = await discover(given)
    const resource = new URL(given.issuer)
    const answer = await oauth.resourceDiscoveryRequest(resource, plain)
    const found = await oauth.processResourceDiscoveryResponse(resource, answer)
    assert.deepEqual(found.authorization_servers, [as.issuer])
    const elsewhere = new URL('http://localhost:' + resource.port)
    await assert.rejects(oauth.processDiscoveryResponse(elsewhere, Response.json(as)), {
      code: oauth.JSON_ATTRIBUTE_COMPARISON,
    })
    return { as, resource: found }
  },

  async challenge_leads_to_the_vault(given) {
    const who = await side(given)
    const found = await shut(who, 'nonsense')
    const answer = await fetch(found.parameters.resource_metadata)
    const resource = await oauth.processResourceDiscoveryResponse(new URL(given.issuer), answer)
    assert.equal(found.scheme, 'bearer')
    return { error: found.parameters.error, servers: resource.authorization_servers }
  },

  async issuer_of_another_is_refused(given) {
    const who = await side(given)
    const back = await open(address(who, await question(who)))
    assert.equal(back.searchParams.get('iss'), who.as.issuer)
    const other = new URL(back)
    other.searchParams.set('iss', 'https://evil.example')
    assert.throws(() => oauth.validateAuthResponse(who.as, who.client, other, who.state), { code: oauth.INVALID_RESPONSE })
    other.searchParams.delete('iss')
    assert.throws(() => oauth.validateAuthResponse(who.as, who.client, other, who.state), { code: oauth.INVALID_RESPONSE })
    assert.throws(() => oauth.validateAuthResponse(who.as, who.client, back, 'other'), { code: oauth.INVALID_RESPONSE })
    await redeem(who, oauth.validateAuthResponse(who.as, who.client, back, who.state))
  },

  async declining(given) {
    const who = await side(given)
    const back = await open(address(who, await question(who)), 'decline')
    try {
      oauth.validateAuthResponse(who.as, who.client, back, who.state)
    } catch (caught) {
      assert.equal(caught.code, oauth.AUTHORIZATION_RESPONSE_ERROR)
      return caught.error
    }
    return assert.fail('no error came back')
  },

  // What the server must refuse of a request that names its client and its address rightly.
  async bad_questions(given) {
    const who = await side(given)
    const found = {}
    const bad = {
      no_challenge: { code_challenge: undefined, code_challenge_method: undefined },
      plain_challenge: { code_challenge_method: 'plain' },
      no_method: { code_challenge_method: undefined },
      token: { response_type: 'token' },
      id_token: { response_type: 'code id_token' },
      form_post: { response_mode: 'form_post' },
      openid: { scope: 'openid' },
      request_object: { request: 'eyJhbGciOiJub25lIn0.e30.' },
    }
    for (const [name, changes] of Object.entries(bad)) {
      const back = await open(address(who, await question(who, changes)), 'refused')
      try {
        oauth.validateAuthResponse(who.as, who.client, back, who.state)
        assert.fail(name)
      } catch (caught) {
        assert.equal(caught.code, oauth.AUTHORIZATION_RESPONSE_ERROR, `${name}: ${caught.stack}`)
        found[name] = caught.error
      }
    }
    return found
  },

  async bad_redemptions(given) {
    const who = await side(given)
    const other = await side({ ...given, ...given.other })
    const answers = async () => come_back(who, address(who, await question(who)))
    await refused(redeem(who, await answers(), given.redirect_uri + '/'), 400, 'invalid_grant')
    await refused(redeem(who, await answers(), undefined, oauth.generateRandomCodeVerifier()), 400, 'invalid_grant')
    await refused(redeem(who, await answers(), undefined, oauth.nopkce), 400, 'invalid_request')
    await refused(redeem({ ...other, verifier: who.verifier }, await answers()), 400, 'invalid_grant')
    const good = await answers()
    for (const auth of [oauth.ClientSecretBasic('wrong'), oauth.ClientSecretPost(given.client_secret), oauth.None()])
      await assert.rejects(redeem({ ...who, auth }, good), { code: oauth.WWW_AUTHENTICATE_CHALLENGE, status: 401 })
    await redeem(who, good) // and none of this spent it
  },

  async code_twice(given) {
    const who = await side(given)
    const answer = await come_back(who, address(who, await question(who)))
    const first = await redeem(who, answer)
    await refused(redeem(who, answer), 400, 'invalid_grant')
    await refused(refresh(who, first.refresh_token), 400, 'invalid_grant')
    await shut(who, first.access_token)
  },

  async giving_back(given) {
    const who = await side(given)
    const found = await journey(who)
    await revoke(who, found.access_token) // that one only: the grant goes on
    await shut(who, found.access_token)
    const next = await refresh(who, found.refresh_token)
    await revoke(who, next.refresh_token) // all of it
    await shut(who, next.access_token)
    await refused(refresh(who, next.refresh_token), 400, 'invalid_grant')
    await revoke(who, next.refresh_token) // a dead token is no error
  },

  async token_of_another(given) {
    const who = await side(given)
    const other = await side({ ...given, ...given.other })
    const found = await journey(who)
    await refused(refresh(other, found.refresh_token), 400, 'invalid_grant')
    await revoke(other, found.access_token) // 200, and nothing of it ends
    assert.equal((await read(who, found.access_token)).length > 0, true)
  },
})
