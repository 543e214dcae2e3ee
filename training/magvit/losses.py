"""Losses of the tokenizer, without their weights unless they are said to have one."""
import torch
import torch.nn.functional as F


def entropy_loss(distances, temperature):
    """Mean entropy of softmax(-d/t) minus the entropy of its mean: sharp choices, all codes used."""
    logp = F.log_softmax(-distances / temperature, 1)
    p = logp.exp()
    mean = p.mean(0)
    return -(p * logp).sum(1).mean() + (mean * (mean + 1e-5).log()).sum()


def generator_loss(fake):
    """Non-saturating; fake: the discriminator's answers [N]."""
    return F.softplus(-fake).mean()


def discriminator_loss(real, fake):
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def r1(disc, real):
    """Mean over samples of the squared norm of the gradient at real clips [N,3,T,H,W]; in float32, without the 1/2."""
    real = real.detach().requires_grad_()
    with torch.autocast(real.device.type, enabled=False):
        gradient, = torch.autograd.grad(disc(real).sum(), real, create_graph=True)
    return gradient.pow(2).flatten(1).sum(1).mean()


class Lecam:
    """Keeps the discriminator's answers near moving averages of its answers to the other kind."""

    def __init__(self, decay, device):
        self.decay, self.mean = decay, torch.zeros(2, device=device)  # of real, of fake

    def __call__(self, real, fake):
        """Loss by the averages so far, which then take in this batch's answers [N]."""
        real, fake = real.float().mean(), fake.float().mean()
        loss = F.relu(real - self.mean[1]) ** 2 + F.relu(self.mean[0] - fake) ** 2
        self.mean = torch.lerp(torch.stack([real, fake]).detach(), self.mean, self.decay)
        return loss

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, d):
        self.mean = d["mean"].to(self.mean.device)
