// A person with two devices, at a real browser: signs in from the page at `/` through a provider on both, looks at the
// sessions, ends the one from the other and then the own, each by its button. Says what was seen as one line of JSON, and
// judges nothing. node browse.mjs PAGE LOGIN FOLDER
import { chromium } from "playwright-core";

const [page_url, login, folder] = process.argv.slice(2);
const PHONE = "Mozilla/5.0 (Linux; Android 16; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Mobile Safari/537.36";
// All that any URL or Referer ever was, and what scripts complained of.
const urls = [];
const errors = [];
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

/** A browser of its own, with one page. */
async function device(options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(20000);
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  // Not `headers()`, which leaves out what the network adds, such as Referer.
  page.on("request", async (request) => {
    urls.push(request.url());
    urls.push((await request.allHeaders().catch(() => ({}))).referer ?? "");
  });
  return { context, page };
}

async function sign_in({ page }, shoot) {
  await page.goto(page_url);
  await shoot?.("1-sign-in");
  await page.click("a.main");
  await page.fill("input[name=login]", login);
  await page.fill("input[name=password]", "any");
  await shoot?.("2-provider");
  await page.click("button[type=submit]");
  await page.waitForSelector("text=Authorize");
  await shoot?.("3-consent");
  await Promise.all([page.waitForURL(page_url), page.click("button[type=submit]")]);
}

const say = ({ page }) => page.textContent("main");
/** Each with a button that ends it. */
const sessions = ({ page }) => page.locator(".card", { has: page.locator("form") });
/** Answers when the page is there again. */
const press = ({ page }, button) => Promise.all([page.waitForEvent("load"), button.click()]);

try {
  const locale = "en-US";
  const desk = await device({ locale, viewport: { width: 1000, height: 900 } });
  // At night.
  const phone = await device({ locale, viewport: { width: 390, height: 844 }, userAgent: PHONE, colorScheme: "dark" });
  const shoot = ({ page }, name) => page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });

  await sign_in(desk, (name) => shoot(desk, name));
  await shoot(desk, "4-session");
  const signed_in = await say(desk);
  const cookies = await desk.context.cookies();
  const script_sees = await desk.page.evaluate(
    () => document.cookie + JSON.stringify([{ ...localStorage }, { ...sessionStorage }]) + document.documentElement.outerHTML,
  );

  await sign_in(phone);
  await desk.page.reload();
  await shoot(desk, "5-two-devices");
  await shoot(phone, "5-two-devices-on-a-phone");
  const devices = await say(desk);
  const both = await sessions(desk).count();
  // Refreshing by its button keeps the person signed in.
  await press(desk, desk.page.locator(`form[action$="/refresh"] button`));
  await press(desk, sessions(desk).filter({ hasNotText: "this one" }).locator("button"));
  const left = await sessions(desk).count();
  await phone.page.reload();
  const ended = await say(phone);
  await shoot(phone, "6-ended-from-the-other");

  // Whoever changes their mind is told so. The provider would remember who was there.
  await phone.context.clearCookies();
  await phone.page.click("a.main");
  await phone.page.click(`a[href$="/abort"]`);
  await phone.page.waitForURL("**/callback/**");
  const cancelled = await say(phone);
  await shoot(phone, "7-cancelled");
  // And so is whoever follows a link to somebody else's return.
  await desk.page.goto(new URL("/callback/sso?code=c&state=s", page_url).href);
  await shoot(desk, "8-not-of-this-browser");
  const foreign = await say(desk);
  await desk.page.goto(page_url);

  await press(desk, sessions(desk).locator("button"));
  await shoot(desk, "9-signed-out");
  const signed_out = await say(desk);
  const seen = { devices, both, left, ended, cancelled, foreign };
  console.log(JSON.stringify({ signed_in, signed_out, cookies, script_sees, urls, errors, ...seen }));
} finally {
  await browser.close();
}
