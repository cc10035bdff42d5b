// Appended to a report: what a reader would stumble over, as the text of the page. Texts of a figure
// that overlap or leave it, a page that is wider than the screen, a colour that is the background's.
window.addEventListener('load', () => {
  const found = [];
  const inside = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
  document.querySelectorAll('.figure > svg').forEach((svg, n) => {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    texts.forEach(([name, box], i) => {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1)
        found.push(`figure ${n}: '${name}' leaves it`);
      texts.slice(0, i).forEach(([other, its]) => {
        if (inside(box, its)) found.push(`figure ${n}: '${name}' overlaps '${other}'`);
      });
    });
    if (!texts.length) found.push(`figure ${n} has no text`);
  });
  if (document.documentElement.scrollWidth > window.innerWidth + 1) found.push('the page is wider than the screen');
  const style = getComputedStyle(document.body);
  if (style.color === style.backgroundColor) found.push('the text has the colour of the background');
  const say = document.createElement('pre');
  say.id = 'found';
  say.textContent = `FIGURES ${document.querySelectorAll('.figure > svg').length}\nWIDTH ${window.innerWidth}\nBACK ${style.backgroundColor}\n` +
    found.map(f => `FOUND ${f}`).join('\n') + '\nEND';
  document.body.append(say);
});
