"use strict";
// Comforts on top of pages that work without this file: copy buttons, a countdown, local times.
for (const box of document.querySelectorAll(".copy")) {
	if (!navigator.clipboard)
		break;
	const button = document.createElement("button");
	button.type = "button";
	button.className = "quiet";
	button.textContent = "Copy";
	button.addEventListener("click", async () => {
		await navigator.clipboard.writeText(box.querySelector("code").textContent);
		button.textContent = "Copied";
		setTimeout(() => { button.textContent = "Copy"; }, 1500);
	});
	box.append(button);
}
for (const time of document.querySelectorAll("time[datetime]")) {
	const when = new Date(time.dateTime);
	if (!isNaN(when)) {
		time.title = time.textContent;
		time.textContent = when.toLocaleString();
	}
}
for (const span of document.querySelectorAll("[data-seconds]")) {
	let left = Number(span.dataset.seconds);
	const tick = () => {
		span.textContent = String(left);
		if (left-- <= 0)
			location.reload();
		else
			setTimeout(tick, 1000);
	};
	tick();
}
if (document.querySelector("[data-refresh]"))
	setTimeout(() => location.replace(location.pathname), 2000);
