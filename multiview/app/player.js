// A line runs over the views while the sound plays; a click on them moves both.
const place = () => {
  const sound = element.querySelector("audio");
  if (!sound) return;
  const share = sound.duration ? sound.currentTime / sound.duration : 0;
  for (const line of element.querySelectorAll(".cursor")) line.style.left = 100 * share + "%";
  if (!sound.paused) requestAnimationFrame(place);
};
// These events do not rise, and the element outlives its content: hence caught on the way down.
for (const event of ["play", "seeked", "pause"]) element.addEventListener(event, place, true);
element.addEventListener("click", (event) => {
  const views = event.target.closest(".views"), sound = element.querySelector("audio");
  if (!views || !sound || !sound.duration) return;
  const box = views.querySelector(".panel").getBoundingClientRect();
  sound.currentTime = sound.duration * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
});
