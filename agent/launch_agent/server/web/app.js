// The page of the queue server: log in, see queues, items and agents, create queues, stop what runs.
// Everything that comes from the server is put in as text, never as HTML.

import {
  ask, session, NotLoggedIn,
  VIEWER, OVERVIEW, QUEUE, ITEM, PROJECT, RUN, CREATE, STOP_ITEM, STOP_AGENT,
} from "./api.js";
import { RESOURCES } from "./examples.js";

const PAGE = 100;
const REFRESH_MS = 2000;
const STOPPABLE = new Set(["PENDING", "LEASED", "CLAIMED"]);

const $ = (id) => document.getElementById(id);
let shown = PAGE;
let timer = 0;
let drawn = 0;  // grows with every drawing: an answer that comes too late is not drawn

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const cell = (text, className = "") => element("td", { textContent: text ?? "", className });
const state = (word, className = word) => element("td", {}, element("span", { textContent: word, className: `state ${className}` }));

function rows(table, entries, nothing) {
  const body = table.tBodies[0];
  const columns = table.tHead.rows[0].cells.length;
  const empty = element("tr", {}, element("td", { textContent: nothing, colSpan: columns, className: "empty" }));
  // Rows are drawn anew again and again; whoever stands on a link or button with the keyboard stays there.
  const key = body.contains(document.activeElement) ? document.activeElement.dataset.key : "";
  body.replaceChildren(...(entries.length ? entries : [empty]));
  if (key) body.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

function button(label, key, act) {
  const made = element("button", { type: "button", textContent: label });
  made.dataset.key = `${label} ${key}`;
  made.addEventListener("click", async () => {
    made.disabled = true;
    try { await act(); await draw(); } catch (error) { report(error); }
  });
  return made;
}

function report(error) {
  if (error instanceof NotLoggedIn) {
    const wasLoggedIn = Boolean(session.key);
    session.key = "";
    logIn(wasLoggedIn ? error.message : "");
    return;
  }
  $("problem").textContent = error?.message ?? "";
  $("problem").hidden = !error;
}

function ago(moment) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(moment)) / 1000));
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : new Date(moment).toLocaleString();
}

const isOld = (moment) => Date.now() - Date.parse(moment) > 24 * 3600 * 1000;

function show(template) {
  if ($("view").dataset.template === template) return;
  $("view").dataset.template = template;
  $("view").replaceChildren($(template).content.cloneNode(true));
}

function logIn(problem) {
  clearTimeout(timer);
  drawn += 1;
  show("login-view");
  $("log-out").hidden = true;
  $("viewer").textContent = "";
  $("problem").textContent = problem;
  $("problem").hidden = !problem;
  $("login").onsubmit = async (event) => {
    event.preventDefault();
    session.key = $("api-key").value.trim();
    try { await ask(VIEWER); report(null); await draw(); } catch (error) { report(error); }
  };
  $("api-key").focus();
}

async function draw() {
  clearTimeout(timer);
  if (!session.key) return logIn("");
  const mine = ++drawn;
  const place = location.hash.split("/").map(decodeURIComponent);
  try {
    if (!$("viewer").textContent) {
      const { viewer } = await ask(VIEWER);
      $("viewer").textContent = `${viewer.username} (${viewer.entity})`;
      $("viewer").dataset.entity = viewer.entity;
      $("log-out").hidden = false;
    }
    if (place[1] === "queue") await drawQueue(place[2], place[3], mine);
    else if (place[1] === "project") await drawProject(place[2], place[3], mine);
    else if (place[1] === "run") await drawRun(place[2], place[3], place[4], mine);
    else await drawOverview(mine);
    if (mine === drawn) report(null);
  } catch (error) {
    if (mine === drawn) report(error);
  }
  if (mine === drawn && session.key) timer = setTimeout(draw, REFRESH_MS);
}

async function drawOverview(mine) {
  const found = await ask(OVERVIEW);
  if (mine !== drawn) return;
  show("queues-view");
  $("create-queue").onclick = () => openCreate(found.launchEntities);
  const names = new Map(found.launchQueues.map((queue) => [queue.id, queue.name]));
  rows($("queues"), found.launchQueues.map(queueRow), "No queue yet. Create one with the button above.");
  const present = found.launchAgents.filter((agent) => agent.agentStatus !== "KILLED" && !isOld(agent.heartbeatAt));
  rows($("agents"), present.map((agent) => agentRow(agent, names)), "No agent polls these queues.");
}

function queueRow(queue) {
  const link = element("a", {
    textContent: queue.name,
    href: hash("queue", queue.entityName, queue.name),
  });
  link.dataset.key = queue.id;
  const count = queue.counts;
  return element("tr", {},
    cell(queue.entityName), element("td", {}, link),
    cell(RESOURCES[queue.resource]?.label ?? queue.resource ?? "any"),
    cell(queue.prioritizationMode === "V0" ? "on" : "off"),
    ...[count.pending, count.leased, count.claimed, count.finished, count.failed, count.stopped + count.preempted,
      queue.agents.length].map((number) => cell(number, "number")));
}

function agentRow(agent, names) {
  const word = agent.isLost ? "lost" : agent.agentStatus;
  const stop = element("td");
  if (!agent.isLost && agent.agentStatus !== "KILLED") {
    stop.append(agent.stopPolling ? "stopping" : button("Stop", agent.id, () => ask(STOP_AGENT, { id: agent.id })));
  }
  return element("tr", {},
    cell(agent.entityName), cell(agent.name), cell(agent.hostname), state(word),
    cell(agent.runQueues.map((id) => names.get(id) ?? "(deleted)").join(", ")),
    cell(agent.claimedItems, "number"), cell(ago(agent.heartbeatAt)), stop);
}

async function drawQueue(entity, name, mine) {
  const { project } = await ask(QUEUE, { entity, name, first: shown });
  if (mine !== drawn) return;
  const queue = project?.runQueue;
  if (!queue) throw new Error(`There is no queue ${entity}/${name}.`);
  show("queue-view");
  $("queue-name").textContent = `${entity}/${name}`;
  const counts = Object.entries(queue.counts).filter(([, number]) => number).map(([word, number]) => `${number} ${word}`);
  $("queue-facts").textContent = [
    RESOURCES[queue.resource]?.label ?? queue.resource ?? "any resource",
    queue.prioritizationMode === "V0" ? "prioritization on" : "first in, first out",
    ...counts,
  ].join(" · ");
  const config = JSON.parse(queue.defaultResourceConfig?.config ?? "{}");
  $("queue-config").textContent = JSON.stringify(config.resource_args?.[queue.resource] ?? config, null, 2);
  rows($("items"), queue.items.edges.map(({ node }) => itemRow(node)), "No job was pushed to this queue yet.");
  $("older").hidden = !queue.items.pageInfo.hasNextPage;
  $("older").onclick = () => { shown += PAGE; draw(); };
}

function itemRow(item) {
  const spec = JSON.parse(item.runSpec);
  const waited = item.claimedAt ? `${((Date.parse(item.claimedAt) - Date.parse(item.createdAt)) / 1000).toFixed(1)} s` : "";
  const open = element("button", { type: "button", textContent: item.id });
  open.dataset.key = item.id;
  open.addEventListener("click", () => openItem(item.id).catch(report));
  const stop = element("td");
  if (STOPPABLE.has(item.detailedState)) {
    stop.append(item.stopRequested ? "stopping" : button("Stop", item.id, () => ask(STOP_ITEM, { id: item.id })));
  }
  return element("tr", {},
    state(item.detailedState), element("td", {}, open),
    cell(spec.job ?? spec.docker?.docker_image ?? spec.uri ?? ""), cell(item.author), cell(item.priority, "number"),
    cell(ago(item.createdAt)), cell(waited, "number"), cell(item.associatedRunId), cell(item.agent?.name),
    cell(item.error?.message ?? item.warnings.at(-1)?.message ?? "", "message"), stop);
}

async function drawProject(entity, project, mine) {
  const found = (await ask(PROJECT, { entity, project, first: shown })).project;
  if (mine !== drawn) return;
  if (!found) throw new Error(`There is no project ${entity}/${project}.`);
  show("project-view");
  $("project-name").textContent = `${entity}/${project}`;
  rows($("runs"), found.runs.edges.map(({ node: run }) => {
    const link = element("a", { textContent: run.displayName, href: hash("run", entity, project, run.name) });
    link.dataset.key = run.name;
    const summary = Object.entries(JSON.parse(run.summaryMetrics)).filter(([key]) => !key.startsWith("_"));
    return element("tr", {},
      state(run.state, run.state.toUpperCase()), element("td", {}, link), cell(run.jobType),
      cell(ago(run.createdAt)), cell(ago(run.heartbeatAt)),
      cell(summary.map(([key, value]) => `${key}: ${JSON.stringify(value)}`).join(", "), "message"));
  }), "No run has reported itself yet.");
  $("older").hidden = !found.runs.pageInfo.hasNextPage;
  $("older").onclick = () => { shown += PAGE; draw(); };
}

async function drawRun(entity, project, name, mine) {
  const run = (await ask(RUN, { entity, project, name })).project?.run;
  if (mine !== drawn) return;
  if (!run) throw new Error(`There is no run ${entity}/${project}/${name}.`);
  show("run-view");
  Object.assign($("run-project"), { textContent: `${entity}/${project}`, href: hash("project", entity, project) });
  $("run-name").textContent = run.displayName;
  const steps = run.historyLineCount ? [`${run.historyLineCount} steps`] : [];
  const code = run.exitCode === null ? [] : [`exit code ${run.exitCode}`];
  $("run-facts").textContent = [run.name, run.state, ...code, `begun ${ago(run.createdAt)}`, ...steps].join(" · ");
  const told = Object.entries(JSON.parse(run.config)).filter(([key]) => !key.startsWith("_"));
  const config = Object.fromEntries(told.map(([key, entry]) => [key, entry?.value ?? entry]));
  const fresh = [
    ...section("Configuration", element("pre", { textContent: JSON.stringify(config, null, 2) })),
    ...section("Summary", element("pre", { textContent: JSON.stringify(JSON.parse(run.summaryMetrics), null, 2) })),
    ...outputOf(run),
  ];
  const text = fresh.map((part) => part.textContent).join();
  if ($("run-body").dataset.text === text) return;  // whoever reads or scrolls is not disturbed
  $("run-body").dataset.text = text;
  $("run-body").replaceChildren(...fresh);
}

const hash = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;
const section = (title, ...content) => [element("h3", { textContent: title }), ...content];

function outputOf(run) {
  const lines = run.logLines.edges.map(({ node }) => node.line.replace(/\n$/, ""));
  const files = run.files.edges.map(({ node }) => element("li", {},
    element("a", { href: node.directUrl, textContent: node.name }), ` ${node.sizeBytes} bytes`));
  return [
    ...(lines.length ? section("End of its output", element("pre", { textContent: lines.join("\n") })) : []),
    ...(files.length ? section("Files", element("ul", {}, ...files)) : []),
  ];
}

async function openItem(id) {
  const { runQueueItem: item } = await ask(ITEM, { id });
  if (!item) throw new Error(`There is no item ${id}.`);
  $("item-title").textContent = `${item.id}: ${item.detailedState}`;
  const parts = [];
  const part = (...content) => parts.push(...section(...content));
  const moments = [["Pushed", item.createdAt], ["Leased", item.leasedAt], ["Claimed", item.claimedAt], ["Ended", item.endedAt]];
  part("When", element("p", {
    textContent: moments.filter(([, at]) => at).map(([word, at]) => `${word} ${new Date(at).toLocaleString()}`).join(" · "),
  }));
  if (item.error) part(`Failed in stage ${item.error.stage}`, element("pre", { textContent: item.error.message }));
  for (const warning of item.warnings) part("Warning", element("pre", { textContent: warning.message }));
  if (item.run) {
    const { name, state: word, project } = item.run;
    const link = element("a", { textContent: name, href: hash("run", project.entityName, project.name, name) });
    link.addEventListener("click", () => $("item-dialog").close());
    part("Run", element("p", {}, link, `: ${word}`));
    parts.push(...outputOf(item.run));
  }
  part("Spec", element("pre", { textContent: JSON.stringify(JSON.parse(item.runSpec), null, 2) }));
  $("item-body").replaceChildren(...parts);
  $("item-dialog").showModal();
}

function openCreate(entities) {
  $("entity").replaceChildren(...entities.map((name) => element("option", { textContent: name, value: name })));
  $("entity").value = $("viewer").dataset.entity;
  $("create-form").reset();
  $("entity").value = $("viewer").dataset.entity;
  $("configuration").value = RESOURCES[$("resource").value].example;
  $("create-problem").hidden = true;
  $("create-dialog").showModal();
}

async function createQueue(event) {
  event.preventDefault();
  const input = {
    entityName: $("entity").value,
    projectName: "model-registry",
    queueName: $("name").value.trim(),
    resourceType: $("resource").value,
    resourceConfig: $("configuration").value.trim() || "{}",
    templateVariables: $("variables").value.trim() || "{}",
    prioritizationMode: $("prioritization").checked ? "V0" : "DISABLED",
  };
  try {
    const { launchQueues } = await ask(OVERVIEW);
    if (launchQueues.some((queue) => queue.entityName === input.entityName && queue.name === input.queueName)) {
      throw new Error(`The queue ${input.entityName}/${input.queueName} exists already.`);
    }
    const { upsertRunQueue: made } = await ask(CREATE, { input });
    if (!made.success) throw new Error(made.configSchemaValidationErrors.join("\n"));
    $("create-dialog").close();
    await draw();
  } catch (error) {
    if (error instanceof NotLoggedIn) { $("create-dialog").close(); return report(error); }
    $("create-problem").textContent = error.message;
    $("create-problem").hidden = false;
  }
}

function start() {
  for (const [value, { label }] of Object.entries(RESOURCES)) {
    $("resource").append(element("option", { value, textContent: label }));
  }
  let example = RESOURCES[$("resource").value].example;
  $("resource").addEventListener("change", () => {
    // What the user has written stays; an example that nobody touched makes room for the next.
    const isUntouched = [example, ""].includes($("configuration").value);
    example = RESOURCES[$("resource").value].example;
    if (isUntouched) $("configuration").value = example;
  });
  $("create-form").addEventListener("reset", () => { example = Object.values(RESOURCES)[0].example; });
  $("create-form").addEventListener("submit", createQueue);
  $("cancel-create").addEventListener("click", () => $("create-dialog").close());
  $("close-item").addEventListener("click", () => $("item-dialog").close());
  $("log-out").addEventListener("click", () => { session.key = ""; logIn(""); });
  addEventListener("hashchange", () => { shown = PAGE; $("view").dataset.template = ""; draw(); });
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : draw()));
  draw();
}

start();
