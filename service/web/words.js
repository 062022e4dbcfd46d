// All sentences about results and problems. A score is no diagnosis, so these words are not used: diagnosis, detected, healthy, risk, sure.

const FEW = 10; // images in a group, below which its share says nothing

export const lower = (label) => label.toLowerCase();
export const title = (label) => label.charAt(0).toUpperCase() + lower(label).slice(1);

export const signed = (value, digits = 1) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;

// Whole percent, never 0 or 100, since no score is certain.
export function percent(probability) {
  const whole = Math.round(100 * probability);
  if (whole < 1) return "<\u00a01"; // a non-breaking space
  return whole > 99 ? ">\u00a099" : String(whole);
}

// No line breaks before a percent sign.
export const unbroken = (words) => words.replaceAll(" %", "\u00a0%");

const spoken = (probability) => percent(probability).replace("<\u00a0", "less than ").replace(">\u00a0", "more than ");

// A limit, with more digits than a score where a whole percent would hide it.
export function limit(probability) {
  const value = 100 * probability;
  return value < 10 || value > 90 ? value.toFixed(1) : value.toFixed(0);
}

// Without a zone the two limits are one, and no score is uncertain.
export const hasZone = ({ thresholds }) => thresholds.screening < thresholds.rule_in;

export function kindOf(prediction, info) {
  if (prediction.uncertain) return "uncertain";
  return prediction.label === info.positive ? "positive" : "negative";
}

export function resultWords(prediction, info) {
  const p = prediction.probabilities[info.positive];
  const positive = lower(info.positive);
  const { screening, rule_in } = info.thresholds;
  const score = percent(p);
  const zone = hasZone(info) ? `Grey zone ${limit(screening)} to ${limit(rule_in)}.` : `No grey zone: the limit is ${limit(screening)}.`;
  const common = { score, bar: `Score ${spoken(p)} of 100. ${zone}` };
  const unlike = !isLikeThose(prediction) && `How often such a score is right is known only for images like the training images, and this one is not like them.`;
  const unbacked = unbackedWords(prediction, info);
  if (prediction.uncertain) {
    const leaning = lower(prediction.label);
    const between = `The score lies between the two locked limits, ${limit(screening)} % and ${limit(rule_in)} %`;
    const never = "Too few images were held out to say when this model is right, so every answer is uncertain";
    return {
      ...common,
      label: "Uncertain",
      leaning: `leaning to ${leaning}`,
      meaning: unlike || `${screening === 0 && rule_in === 1 ? never : between}: read it as no answer.${errorsBetween(info.metrics.test)}`,
      spoken: `Uncertain, leaning to ${leaning}. Score ${spoken(p)} of 100.`,
    };
  }
  return {
    ...common,
    label: title(prediction.label),
    leaning: "",
    meaning: unlike || unbacked || `Of 100 images with this score, ${were(p)} ${positive} and ${were(1 - p)} not, in a set that is ${share(info.prior)} ${positive}. This is a score for a picture, not a finding about a person.`,
    spoken: `Result: ${lower(prediction.label)}. Score for ${positive} ${spoken(p)} of 100.`,
  };
}

function were(probability) {
  const count = percent(probability).replace("<\u00a01", "at most 1").replace(">\u00a099", "at least 99");
  return `${/^\d/.test(count) ? "about " : ""}${count} ${count.endsWith(" 1") || count === "1" ? "was" : "were"}`;
}

// Between the limits the threshold 0.5 decides; outside them, only errors beyond the limits count.
function errorsBetween(test) {
  if (!test?.at || !Number.isFinite(test.uncertain)) return "";
  const outside = test.at.screening.fn + test.at.rule_in.fp;
  const between = test.at.balanced.fn + test.at.balanced.fp - outside;
  const others = test.images - test.uncertain;
  return ` Of the ${test.uncertain} test images in this zone, ${between} leaned to the wrong label${others ? `; of the other ${others}, ${outside} were wrong` : ""}.`;
}

// No doubt: its features are typical, and the decoder has no warning.
export const isLikeThose = (prediction) => prediction.novelty.level === "typical" && !prediction.warnings.length;

// How often such a score is right, as the images that were held out with about this score can tell; empty: they can.
export function unbackedWords(prediction, info) {
  const p = prediction.probabilities[info.positive];
  const groups = (info.metrics.test ?? info.metrics.calibration?.after)?.reliability;
  if (!groups?.length) return "How often such a score is right was not measured.";
  const nearest = groups.reduce((one, other) => (Math.abs(other.probability - p) < Math.abs(one.probability - p) ? other : one));
  return nearest.images < FEW ? `How often such a score is right is not known: ${nearest.images} images with about this score were held out, too few to say.` : "";
}

const share = (prior) => (prior === 0.5 ? "half" : `${percent(prior)} %`);

// The doubts that stand before the label: an unusual image, or warnings. null: none.
export function doubtWords(prediction, info) {
  const { level } = prediction.novelty;
  const others = prediction.warnings.filter((warning) => !warning.startsWith(`the image is ${level}:`)).map(sentence);
  if (level === "foreign") {
    return {
      heading: "Very unusual image.",
      text: `This does not look like a chest X-ray to the model, so the score is hidden. It learned from ${people(info)}.`,
      shown: `This does not look like a chest X-ray to the model: label and score mean nothing. It learned from ${people(info)}.`,
      others,
      spoken: `Very unusual image. This does not look like a chest X-ray to the model, so the score is hidden. ${others.join(" ")}`,
    };
  }
  if (level === "unusual") {
    return {
      heading: "Unusual image.",
      text: `It differs from what the model learned from: ${people(info)}. The score may mean nothing.`,
      others,
      spoken: `Unusual image. The score may mean nothing. ${others.join(" ")}`,
    };
  }
  if (!others.length) return null;
  return { heading: "Not like the images it learned from.", text: "", others, spoken: others.join(" ") };
}

export function people(info) {
  const learned = info.data?.splits?.train;
  const count = learned ? `${Object.values(learned).reduce((a, b) => a + b, 0).toLocaleString("en")} ` : "";
  return `${count}chest X-rays${ages(info)} from one archive`;
}

export const ages = (info) => (info.ages ? ` of people aged ${info.ages[0]} to ${info.ages[1]} years` : "");

const megabytes = (bytes) => (bytes / 1e6).toLocaleString("en", { maximumFractionDigits: bytes < 1e6 ? 3 : 1 });

// The words for a problem: heading, reason, remedy, and whether trying again may help.
export function problemWords(problem, limits) {
  const file = "There is a problem with this file.";
  const detail = sentence(problem.detail);
  switch (problem.status) {
    case 0:
      return { heading: "No connection to the service.", text: `The page is loaded, but ${location.host} does not answer.`, again: true };
    case 401:
      return { heading: "The service requires a token.", text: "Enter it above.", again: true };
    case 408:
      return { heading: file, text: "Sending took too long. Check the connection and try again.", again: true };
    case 413: {
      const size = problem.bytes ? `This file is ${megabytes(problem.bytes)} MB; the` : "This file is too large; the";
      return { heading: file, text: `${size} limit is ${limits ? megabytes(limits.max_body_bytes) : "lower"} MB. Save it smaller, for example as JPEG.` };
    }
    case 415:
      return { heading: file, text: "This file type cannot be read. Use JPEG, PNG or DICOM.", detail };
    case 422:
      return problem.title === "The image is out of range" // its detail names the value and the limit
        ? { heading: file, text: detail }
        : { heading: file, text: "It could not be opened as an image. It may be damaged.", detail };
    case 429:
      return { heading: "The service is still busy.", text: "Your image is kept here.", again: true };
    case 503:
      return { heading: "The service is not ready.", text: detail, again: true };
    case 504:
      return { heading: "The service could not answer in time.", text: "Nothing is wrong with your image.", again: true };
    default:
      if (problem.status >= 500) return { heading: "The service failed.", text: `Request ${problem.requestId}.`, again: true };
      return { heading: file, text: "The page and the service do not match. Reload the page.", detail };
  }
}

// A reason, short enough for a row of the table.
export function reason(problem, limits) {
  const words = problemWords(problem, limits);
  return problem.status >= 500 || problem.status === 0 || problem.status === 429 ? `${words.heading} ${words.text}` : words.text;
}

export function sentence(text) {
  const clean = text.trim();
  return clean && clean.charAt(0).toUpperCase() + clean.slice(1) + (/[.!?]$/.test(clean) ? "" : ".");
}
