// simple-oauth2: reads each answer as strict JSON, that of a revocation too.
import { open, sit } from './court.mjs'
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { AuthorizationCode } from 'simple-oauth2'

await sit({
  async whole(given) {
    const config = { client: { id: given.client_id, secret: given.client_secret }, auth: { tokenHost: given.issuer } }
    const shop = new AuthorizationCode(config)
    const code_verifier = randomBytes(32).toString('base64url')
    const { redirect_uri, scope } = given
    const back = await open(shop.authorizeURL({
      redirect_uri,
      scope,
      state: 'st4te',
      code_challenge: createHash('sha256').update(code_verifier).digest('base64url'),
      code_challenge_method: 'S256',
    }))
    const code = back.searchParams.get('code')
    const first = await shop.getToken({ code, redirect_uri, code_verifier })
    const second = await first.refresh()
    assert.equal(second.expired(), false)
    const authorization = `Bearer ${second.token.access_token}`
    const answer = await fetch(given.issuer + '/api/v1/purchases', { headers: { authorization } })
    const { items } = await answer.json()
    await second.revokeAll()
    const later = await fetch(given.issuer + '/api/v1/purchases', { headers: { authorization } })
    const again = await second.revoke('refresh_token')
    return { seen: items.map((row) => row.item.title).sort(), later: later.status, again }
  },
})
