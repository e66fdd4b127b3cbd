// Speaks GraphQL to the server that this page came from.

const STORED = "launch-api-key";

export class NotLoggedIn extends Error {}

export const session = {
  get key() { return sessionStorage.getItem(STORED) ?? ""; },
  set key(key) { key ? sessionStorage.setItem(STORED, key) : sessionStorage.removeItem(STORED); },
};

export async function ask(query, variables = {}) {
  let answer;
  try {
    answer = await fetch("/graphql", {
      method: "POST",
      credentials: "omit",  // or the browser asks for a password itself when the key is wrong
      headers: { "Content-Type": "application/json", "Authorization": `Bearer ${session.key}` },
      body: JSON.stringify({ query, variables }),
    });
  } catch {
    throw new Error("The server does not answer.");
  }
  let body;
  try {
    body = await answer.json();
  } catch {
    throw new Error(`The server answered ${answer.status}, and not in its protocol.`);
  }
  const message = (body.errors ?? []).map((error) => error.message).join("\n");
  if (answer.status === 401) throw new NotLoggedIn(message);
  if (message) throw new Error(message);
  return body.data;
}

export const VIEWER = "{ viewer { username entity } }";

export const OVERVIEW = `{
  launchEntities
  launchQueues { id name entityName resource prioritizationMode agents { id }
    counts { pending leased claimed finished failed stopped preempted } }
  launchAgents { id name hostname entityName agentStatus isLost stopPolling runQueues claimedItems heartbeatAt }
}`;

export const QUEUE = `query($entity: String!, $name: String!, $first: Int) {
  project(name: "model-registry", entityName: $entity) { runQueue(name: $name) {
    id name resource prioritizationMode defaultResourceConfig { config }
    counts { pending leased claimed finished failed stopped preempted }
    items(first: $first) { pageInfo { hasNextPage } edges { node {
      id detailedState stopRequested author priority createdAt claimedAt associatedRunId runSpec
      agent { name } error { message } warnings { message } } } } } } }`;

const RUN_PARTS = `name displayName state exitCode createdAt
  logLines(last: 200) { edges { node { line } } } files { edges { node { name sizeBytes directUrl } } }`;

export const ITEM = `query($id: ID!) { runQueueItem(id: $id) {
  id detailedState runSpec createdAt leasedAt claimedAt endedAt
  error { message stage } warnings { message stage }
  run { project { name entityName } ${RUN_PARTS} } } }`;

export const PROJECT = `query($entity: String!, $project: String!, $first: Int) {
  project(name: $project, entityName: $entity) { runs(first: $first) {
    pageInfo { hasNextPage }
    edges { node { name displayName state jobType createdAt heartbeatAt summaryMetrics } } } } }`;

export const RUN = `query($entity: String!, $project: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) {
    ${RUN_PARTS} config summaryMetrics historyLineCount } } }`;

export const CREATE = `mutation($input: UpsertRunQueueInput!) {
  upsertRunQueue(input: $input) { success configSchemaValidationErrors } }`;

export const STOP_ITEM = `mutation($id: ID!) {
  stopRunQueueItem(input: {runQueueItemId: $id}) { success } }`;

export const STOP_AGENT = `mutation($id: ID!) {
  stopLaunchAgent(input: {launchAgentId: $id}) { success } }`;
