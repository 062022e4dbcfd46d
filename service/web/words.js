// Every sentence about a result or a problem. Not used here, since a score is none of it: diagnosis, detected, healthy, risk, sure.

export const lower = (label) => label.toLowerCase();
export const title = (label) => label.charAt(0).toUpperCase() + lower(label).slice(1);

// Whole percent, and never 0 or 100: no score is certain.
export function percent(probability) {
  const whole = Math.round(100 * probability);
  if (whole < 1) return "<\u00a01"; // which no line may break
  return whole > 99 ? ">\u00a099" : String(whole);
}

// No line breaks before a percent sign.
export const unbroken = (words) => words.replaceAll(" %", "\u00a0%");

const spoken = (probability) => percent(probability).replace("<\u00a0", "less than ").replace(">\u00a0", "more than ");

// Of a limit: finer than a score, where a whole percent would hide it.
export function limit(probability) {
  const value = 100 * probability;
  return value < 10 || value > 90 ? value.toFixed(1) : value.toFixed(0);
}

export function kindOf(prediction, info) {
  if (prediction.uncertain) return "uncertain";
  return prediction.label === info.positive ? "positive" : "negative";
}

export function resultWords(prediction, info) {
  const p = prediction.probabilities[info.positive];
  const positive = lower(info.positive);
  const { screening, rule_in } = info.thresholds;
  const score = percent(p);
  const zone = `Grey zone ${limit(screening)} to ${limit(rule_in)}.`;
  const common = { score, bar: `Score ${spoken(p)} of 100. ${zone}` };
  if (prediction.uncertain) {
    const leaning = lower(prediction.label);
    const test = info.metrics.test;
    const fell = Number.isFinite(test?.uncertain) ? ` ${test.uncertain} of ${test.images} test images fell here.` : "";
    return {
      ...common,
      label: "Uncertain",
      leaning: `leaning to ${leaning}`,
      meaning: `The score lies between the two locked limits, ${limit(screening)} % and ${limit(rule_in)} %. Here the model is often wrong: read it as no answer.${fell}`,
      spoken: `Uncertain, leaning to ${leaning}. Score ${spoken(p)} of 100.`,
    };
  }
  return {
    ...common,
    label: title(prediction.label),
    leaning: "",
    meaning: `Of 100 images with this score, about ${were(p)} ${positive} and ${were(1 - p)} not, in a set that is ${share(info.prior)} ${positive}. This is a score for a picture, not a finding about a person.`,
    spoken: `Result: ${lower(prediction.label)}. Score for ${positive} ${spoken(p)} of 100.`,
  };
}

const counts = (probability) => percent(probability).replace("<\u00a01", "1 or fewer").replace(">\u00a099", "99 or more");
const were = (probability) => `${counts(probability)} ${counts(probability) === "1" ? "was" : "were"}`;
const share = (prior) => (prior === 0.5 ? "half" : `${percent(prior)} %`);

export function noveltyWords(level, info) {
  if (level === "unusual") {
    return {
      heading: "Unusual image.",
      text: `It differs from what the model learned from: ${people(info)}. The score may mean nothing.`,
      spoken: "Unusual image. The score may mean nothing.",
    };
  }
  return {
    heading: "Very unusual image.",
    text: `This does not look like a chest X-ray to the model, so the score is hidden. It learned from ${people(info)}.`,
    spoken: "Very unusual image. This does not look like a chest X-ray to the model, so the score is hidden.",
  };
}

export function people(info) {
  const ages = info.ages ? ` of people aged ${info.ages[0]} to ${info.ages[1]} years` : "";
  return `frontal chest X-rays${ages}, ${info.data?.files?.toLocaleString("en") ?? "some"} files of one archive`;
}

const megabytes = (bytes) => (bytes / 1e6).toLocaleString("en", { maximumFractionDigits: bytes < 1e6 ? 3 : 1 });

// What stands on the page for a problem: heading, reason, what can be done, and whether trying again may help.
export function problemWords(problem, limits) {
  const file = "There is a problem with this file.";
  const detail = sentence(problem.detail);
  switch (problem.status) {
    case 0:
      return { heading: "No connection to the service.", text: `The page is loaded, but ${location.host} does not answer.`, again: true };
    case 401:
      return { heading: "The service wants a token.", text: "Enter it above.", again: true };
    case 408:
      return { heading: file, text: "Sending took too long. Check the connection and try again.", again: true };
    case 413: {
      const size = problem.bytes ? `This file is ${megabytes(problem.bytes)} MB; the` : "This file is too large; the";
      return { heading: file, text: `${size} limit is ${limits ? megabytes(limits.max_body_bytes) : "lower"} MB. Save it smaller, for example as JPEG.` };
    }
    case 415:
      return { heading: file, text: "This file type cannot be read. Use JPEG, PNG or DICOM.", detail };
    case 422:
      return problem.title === "The image is out of range" // it names the value and the limit
        ? { heading: file, text: detail }
        : { heading: file, text: "It could not be opened as an image. It may be damaged.", detail };
    case 429:
      return { heading: "Still busy.", text: "Your image is kept here.", again: true };
    case 503:
      return { heading: "The service is not ready.", text: detail, again: true };
    case 504:
      return { heading: "The service could not answer in time.", text: "Nothing is wrong with your image.", again: true };
    default:
      if (problem.status >= 500) return { heading: "The service failed.", text: `Request ${problem.requestId}.`, again: true };
      return { heading: file, text: "Page and service do not match. Reload the page.", detail };
  }
}

// A reason short enough for a row of a table.
export function reason(problem, limits) {
  const words = problemWords(problem, limits);
  return problem.status >= 500 || problem.status === 0 || problem.status === 429 ? `${words.heading} ${words.text}` : words.text;
}

function sentence(text) {
  const clean = text.trim();
  return clean && clean.charAt(0).toUpperCase() + clean.slice(1) + (/[.!?]$/.test(clean) ? "" : ".");
}
