// The theme listens to the first button of each kind, in a header that this book leaves out; those above the article pass clicks on.
document.addEventListener("DOMContentLoaded", () => {
  for (const side of ["primary", "secondary"]) {
    const [heard, ...others] = document.querySelectorAll(`.${side}-toggle`);
    for (const button of others) button.addEventListener("click", () => heard.click());
  }
});
