// A throw-away OpenID provider: everything comes from the environment (tests/peers/op.py).
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const { OP_MODULE, OP_PORT, OP_PEOPLE, OP_REDIRECT_URIS, OP_LOGOUT_URIS } = process.env;
const { default: Provider } = await import(pathToFileURL(OP_MODULE));
const issuer = `http://127.0.0.1:${OP_PORT}`;
const scope = process.env.OP_SCOPE || 'univ-a.example';

const person = (uid, primary, affiliations) => ({
  preferred_username: uid,
  name: `${uid[0].toUpperCase()}${uid.slice(1)} Éàü`,
  given_name: `${uid[0].toUpperCase()}${uid.slice(1)}`,
  family_name: 'Éàü',
  email: `${uid}@${scope}`,
  email_verified: true,
  eduperson_principal_name: `${uid}@${scope}`,
  eduperson_primary_affiliation: primary,
  eduperson_affiliation: affiliations,
  eduperson_scoped_affiliation: [affiliations].flat().map((one) => `${one}@${scope}`),
});

const people = {
  alice: person('alice', 'student', ['member', 'student']),
  bob: person('bob', 'faculty', ['member', 'employee', 'faculty', 'teacher']),
  carol: person('carol', 'staff', ['member', 'employee', 'staff']),
  eve: person('eve', 'student', 'student'), // a single value, sent as a string
  nobody: {}, // nothing but `sub`
};

// What a test has changed meanwhile: {"bob": {"eduperson_affiliation": ["student"]}}
const claimsOf = (uid) => ({ sub: uid, ...people[uid], ...JSON.parse(readFileSync(OP_PEOPLE))[uid] });

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'mydocker',
      client_secret: 'only-for-tests-only-for-tests-only',
      redirect_uris: OP_REDIRECT_URIS.split(' '),
      post_logout_redirect_uris: (OP_LOGOUT_URIS || '').split(' ').filter(Boolean),
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: process.env.OP_AUTH_METHOD || 'client_secret_basic',
    },
  ],
  claims: {
    openid: ['sub'],
    profile: ['name', 'given_name', 'family_name', 'preferred_username'],
    email: ['email', 'email_verified'],
    eduperson: [
      'eduperson_principal_name',
      'eduperson_affiliation',
      'eduperson_primary_affiliation',
      'eduperson_scoped_affiliation',
    ],
  },
  scopes: ['openid', 'offline_access', 'profile', 'email', 'eduperson'],
  findAccount: (context, id) =>
    people[id] && { accountId: id, claims: async () => claimsOf(id) },
  features: {
    devInteractions: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    revocation: { enabled: true },
  },
  // the claims are in the ID token too, where a client would rather not ask for them
  conformIdTokenClaims: process.env.OP_CLAIMS_IN_ID_TOKEN !== '1',
  pkce: { required: () => process.env.OP_REQUIRE_PKCE === '1' },
  cookies: { keys: ['only-for-tests'] },
  ttl: {
    AccessToken: 300,
    IdToken: 300,
    Session: 3600,
    Grant: 3600,
    Interaction: 600,
    AuthorizationCode: 60,
  },
});
provider.on('server_error', (context, error) => console.error(error));
provider.listen(Number(OP_PORT), '127.0.0.1');
