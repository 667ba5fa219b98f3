// Offers the zone of the reader's own clock where the page is shown in another one.
(() => {
  const input = document.querySelector("[data-zone-input]");
  const hint = document.querySelector("[data-zone-hint]");
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!input || !hint || !own || own === (input.value || "UTC")) return;
  const known = [...document.querySelectorAll("#mt-zones option")].some((option) => option.value === own);
  if (!known) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "bb-link";
  button.textContent = `Use ${own}, the zone of your clock`;
  button.addEventListener("click", () => {
    input.value = own;
    input.form.requestSubmit();
  });
  hint.append(button);
  hint.hidden = false;
})();
