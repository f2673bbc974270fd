// passport-oauth2: the strategy as Passport drives it, with a session and two requests of one visitor.
import { open, sit } from './court.mjs'
import assert from 'node:assert/strict'
import OAuth2Strategy from 'passport-oauth2'

function turn(strategy, request) {
  return new Promise((resolve, reject) => {
    const acting = Object.create(strategy)
    acting.redirect = (to) => resolve({ redirect: to })
    acting.success = (user) => resolve({ user })
    acting.fail = (challenge, status) => resolve({ failed: challenge, status })
    acting.error = reject
    acting.authenticate(request, { scope: request.scope })
  })
}

function strategy(given) {
  const options = {
    authorizationURL: given.issuer + '/oauth/authorize',
    tokenURL: given.issuer + '/oauth/token',
    clientID: given.client_id,
    clientSecret: '', // it would stand in the form, where no secret is taken: a confidential client sends the header
    callbackURL: given.redirect_uri,
    state: true,
    pkce: true,
    scope: given.scope.split(' '),
    customHeaders: given.client_secret
      ? { Authorization: 'Basic ' + Buffer.from(`${given.client_id}:${given.client_secret}`).toString('base64') }
      : {},
  }
  return new OAuth2Strategy(options, (access, refresh, params, profile, done) => done(null, { access, refresh, params }))
}

function query(back) {
  return Object.fromEntries(back.searchParams)
}

await sit({
  async log_in(given) {
    const passport = strategy(given)
    const session = {}
    const first = await turn(passport, { session, query: {} })
    const back = await open(first.redirect)
    const stranger = await turn(passport, { session: {}, query: query(back) })
    assert.equal(stranger.status, 403) // another visitor's session
    const { user } = await turn(passport, { session, query: query(back) })
    const headers = { authorization: `Bearer ${user.access}` }
    const answer = await fetch(given.issuer + '/api/v1/purchases', { headers })
    const { items } = await answer.json()
    return { seen: items.map((row) => row.item.title).sort(), scope: user.params.scope, refresh: Boolean(user.refresh) }
  },

  async declining(given) {
    const passport = strategy(given)
    const session = {}
    const first = await turn(passport, { session, query: {} })
    const back = await open(first.redirect, 'decline')
    return turn(passport, { session, query: query(back) })
  },
})
